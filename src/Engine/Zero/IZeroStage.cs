namespace DeepSpeedSharp.Engine.Zero;

/// <summary>How gradients reach the ranks that update them, and updated weights reach all ranks.</summary>
/// <remarks>Implemented once per ZeRO stage. Every rank makes the same calls in the same order.</remarks>
internal interface IZeroStage : IDisposable
{
    /// <summary>Whether every backward is reduced, not only the last one of a step.</summary>
    bool ReducesEveryBackward { get; }

    /// <summary>Call before a backward whose gradients are to be reduced.</summary>
    void Begin();

    /// <summary>Call after it: reduces what is left and waits until the gradients that this rank owns are sums over ranks.</summary>
    /// <exception cref="Comm.PeerLostException">Another rank ended or hangs.</exception>
    void Finish();

    /// <summary>Call before the optimizer: makes sure that no gradients are left out of the step.</summary>
    /// <exception cref="InvalidOperationException">A backward ran that nobody had announced.</exception>
    void ThrowIfUnreduced();

    /// <summary>Call when a forward threw: nobody will end what it had begun.</summary>
    void AbandonForward()
    {
        // Nothing but stage 3 has anything under way in forward.
    }

    /// <summary>Call after a forward: finds out why its result is not a number, if that is the stage's doing.</summary>
    /// <param name="forward">The forward, to be repeated.</param>
    /// <param name="result">What it gave.</param>
    /// <exception cref="InvalidOperationException">A parameter was used where it is not whole.</exception>
    void CheckForward(Func<Tensor> forward, Tensor result)
    {
        // In other stages parameters are always whole.
    }

    /// <summary>Call when a backward threw: throws what went wrong in the stage's own part of it, where no exception can
    /// leave.</summary>
    void ThrowIfFailed()
    {
        // Nothing but stage 3 makes a backward fail.
    }

    /// <summary>Forgets the gradients of this step.</summary>
    void ClearGradients();

    /// <summary>Call after the optimizer: gives every rank the weights that the others have updated.</summary>
    /// <exception cref="Comm.PeerLostException">Another rank ended or hangs.</exception>
    void GatherWeights();
}
