using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Brings a matrix near the closest semi-orthogonal one: its singular values become about 1.</summary>
/// <remarks>
/// Five steps of X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X with coefficients that lift small singular values fast (Jordan et
/// al., "Muon", 2024); they end between about 0.7 and 1.2. Everything is computed in fp32.
/// </remarks>
internal static class NewtonSchulz
{
    private const int Iterations = 5;
    private const double A = 3.4445, B = -4.7750, C = 2.0315;

    /// <summary>Orthogonalizes.</summary>
    /// <param name="matrix">[rows, columns] fp32.</param>
    /// <param name="gram">Iterates on X Xᵀ and multiplies X by the product of all factors: less work for long rows,
    /// the same in exact arithmetic.</param>
    /// <returns>[rows, columns]; the caller disposes it.</returns>
    public static Tensor Orthogonalize(Tensor matrix, bool gram)
    {
        using DisposeScope scope = NewDisposeScope();
        bool isTall = matrix.shape[0] > matrix.shape[1];
        Tensor x = isTall ? matrix.t() : matrix;
        x = x / (x.norm() + 1e-7);
        x = gram ? ByGram(x) : Standard(x);
        return (isTall ? x.t().contiguous() : x.contiguous()).MoveToOuterDisposeScope();
    }

    private static Tensor Standard(Tensor x)
    {
        for (int i = 0; i < Iterations; i++)
        {
            Tensor a = x.mm(x.t());
            Tensor b = a.mul(B).add_(a.mm(a), alpha: C);
            x = x.mul(A).add_(b.mm(x));
        }

        return x;
    }

    // X and its factors commute with X Xᵀ, so the factor of a step takes G = X Xᵀ to P G P. Rounding errors of G grow
    // with the square of X's condition, so it is computed anew after two steps, when X is better conditioned.
    private static Tensor ByGram(Tensor x)
    {
        const int Restart = 2;
        Tensor identity = eye(x.shape[0], dtype: x.dtype, device: x.device);
        Tensor g = x.mm(x.t());
        Tensor product = identity;
        for (int i = 0; i < Iterations; i++)
        {
            if (i == Restart)
            {
                x = product.mm(x);
                (g, product) = (x.mm(x.t()), identity);
            }

            Tensor p = identity.mul(A).add_(g, alpha: B).add_(g.mm(g), alpha: C);
            g = p.mm(g).mm(p);
            product = p.mm(product);
        }

        return product.mm(x);
    }
}
