using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Makes TorchSharp's bridge load where the C++ library is older than the one it was built with.</summary>
/// <remarks>
/// libLibTorchSharp.so of TorchSharp 0.107 asks for GLIBCXX_3.4.32 because of one symbol, the iostream initialiser of
/// GCC 13, which is harmless to skip. Debian 12, Ubuntu 22.04 and RHEL 9 have an older libstdc++. There a copy is
/// loaded in which that version is optional and the symbol points at a function without effect. The copy lives in
/// memory, so it works on a read-only root file system. Ubuntu 24.04 needs none of this.
/// </remarks>
internal static partial class BridgeRepair
{
    private const string NewerVersion = "GLIBCXX_3.4.32";
    private const string Initialiser = "_ZSt21ios_base_library_initv";

    private static readonly Lazy<string?> Outcome = new(Repair, LazyThreadSafetyMode.ExecutionAndPublication);

    /// <summary>Why the bridge could not be loaded; null when all is well.</summary>
    public static string? Failure => Outcome.Value;

    /// <summary>Repairs the bridge when it needs it. Must come before the first tensor.</summary>
    public static void Apply() => _ = Outcome.Value;

    private static string? Repair()
    {
        if (!OperatingSystem.IsLinux())
        {
            return null;
        }

        var assembly = typeof(torch).Assembly;
        if (!NativeLibrary.TryLoad("torch_cpu", assembly, null, out _))
        {
            return "libtorch_cpu.so was not found, or a library it needs is missing (try ldd on it)";
        }

        if (NativeLibrary.TryLoad("LibTorchSharp", assembly, null, out _))
        {
            return null;
        }

        string folders = (string?)AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") ?? "";
        string? source = folders.Split(':', StringSplitOptions.RemoveEmptyEntries).Append(AppContext.BaseDirectory)
            .Select(folder => Path.Combine(folder, "libLibTorchSharp.so")).FirstOrDefault(File.Exists);
        if (source is null)
        {
            return "libLibTorchSharp.so was not found beside the program";
        }

        try
        {
            byte[] library = File.ReadAllBytes(source);
            Patch(library);
            // TorchSharp may also need libtorch.so, which only names the others.
            _ = NativeLibrary.TryLoad("torch", assembly, null, out _);
            LoadFromMemory(library);
            return null;
        }
        catch (Exception e) when (e is IOException or InvalidDataException or DllNotFoundException or BadImageFormatException)
        {
            return $"{source} needs a newer libstdc++ ({NewerVersion}) and could not be repaired: {e.Message}";
        }
    }

    // A file in memory has a path for as long as its descriptor is open; its SONAME satisfies every later load by name.
    private static void LoadFromMemory(byte[] library)
    {
        int descriptor = MemfdCreate("libLibTorchSharp.so", 1 /* close on exec */);
        if (descriptor < 0)
        {
            throw new IOException($"memfd_create failed with error {Marshal.GetLastPInvokeError()}");
        }

        string path = $"/proc/self/fd/{descriptor}";
        using var handle = new Microsoft.Win32.SafeHandles.SafeFileHandle(descriptor, ownsHandle: true);
        RandomAccess.Write(handle, library, 0);
        NativeLibrary.Load(path);
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, uint flags);

    /// <summary>Edits a 64-bit little-endian ELF library in place (System V ABI; LSB core, symbol versioning).</summary>
    internal static void Patch(byte[] file)
    {
        const uint DynamicSymbols = 11, VersionTable = 0x6fffffff, VersionsNeeded = 0x6ffffffe;
        (long symbols, long symbolBytes, long strings, long stringBytes) = Section(DynamicSymbols);
        (long versions, _, _, _) = Section(VersionTable);
        (long needed, _, _, _) = Section(VersionsNeeded);

        int noEffect = file.AsSpan((int)strings, (int)stringBytes).IndexOf("\0THSAutograd_isGradEnabled\0"u8) + 1;
        if (noEffect == 0)
        {
            throw new InvalidDataException("it does not export the function the repair points at");
        }

        const int SymbolSize = 24;
        for (long i = 0; i < symbolBytes / SymbolSize; i++)
        {
            long symbol = symbols + i * SymbolSize;
            if (Text(strings + U32(symbol)) == Initialiser)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan((int)symbol), (uint)noEffect);
                BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan((int)(versions + i * 2)), 1); // unversioned
            }
        }

        for (long library = needed; ; library += U32(library + 12))
        {
            long version = library + U32(library + 8);
            for (int left = U16(library + 2); left > 0; left--)
            {
                if (Text(strings + U32(version + 8)) == NewerVersion)
                {
                    file[version + 4] |= 2; // weak: a missing version is only a warning
                }

                version += U32(version + 12);
            }

            if (U32(library + 12) == 0)
            {
                return;
            }
        }

        (long Offset, long Bytes, long LinkedOffset, long LinkedBytes) Section(uint type)
        {
            (long table, int size, int count) = ((long)U64(0x28), U16(0x3A), U16(0x3C));
            for (int i = 0; i < count; i++)
            {
                long header = table + i * size;
                if (U32(header + 4) == type)
                {
                    long linked = table + U32(header + 0x28) * size;
                    return ((long)U64(header + 0x18), (long)U64(header + 0x20),
                        (long)U64(linked + 0x18), (long)U64(linked + 0x20));
                }
            }

            throw new InvalidDataException($"it has no ELF section of type {type:x}");
        }

        ulong U64(long at) => BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan((int)at));
        uint U32(long at) => BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan((int)at));
        ushort U16(long at) => BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan((int)at));
        string Text(long at) => Encoding.ASCII.GetString(file.AsSpan((int)at)[..file.AsSpan((int)at).IndexOf((byte)0)]);
    }
}
