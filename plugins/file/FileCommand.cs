using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>What one system call does.</summary>
internal enum FileCommandKind : byte
{
    Read,
    Write,
    ReadVector,
    WriteVector,
    Sync,
    Fallocate,

    /// <summary>BLKDISCARD: an ioctl, so never by io_uring.</summary>
    DiscardDevice,
}

/// <summary>One system call, to be made by io_uring or by a worker thread; the state machine above does not see the difference.</summary>
internal unsafe struct FileCommand
{
    public FileCommandKind Kind;
    public ReadWriteFlags Flags;
    public FallocateMode Mode;
    public int FileDescriptor;

    /// <summary>Its number in the io_uring's table, for reads; or <see cref="FileTable.None"/>.</summary>
    public int FileNumber;

    /// <summary>Number of vectors, for the vector kinds.</summary>
    public int VectorCount;

    /// <summary>The buffer, or the <see cref="IoVector"/>s.</summary>
    public void* Data;
    public ulong Offset;
    public ulong LengthBytes;

    /// <summary>Prepares the command in an io_uring entry.</summary>
    // SAFETY: Data stays valid until the completion: the submitter answers for guest memory, the queue for bounce buffers.
    public readonly void Prepare(IoUringEntry* entry, ulong userData)
    {
        var file = FileNumber == FileTable.None ? FileDescriptor : FileNumber;
        switch (Kind)
        {
            case FileCommandKind.Read:
                entry->PrepareRead(file, Data, (uint)LengthBytes, Offset, userData, Flags);
                break;
            case FileCommandKind.Write:
                entry->PrepareWrite(file, Data, (uint)LengthBytes, Offset, userData, Flags);
                break;
            case FileCommandKind.ReadVector:
                entry->PrepareReadVector(file, (IoVector*)Data, VectorCount, Offset, userData, Flags);
                break;
            case FileCommandKind.WriteVector:
                entry->PrepareWriteVector(file, (IoVector*)Data, VectorCount, Offset, userData, Flags);
                break;
            case FileCommandKind.Sync:
                entry->PrepareFsync(file, userData);
                break;
            case FileCommandKind.Fallocate:
                entry->PrepareFallocate(file, Mode, Offset, LengthBytes, userData);
                break;
            default:
                throw new InvalidOperationException($"{Kind} is no io_uring operation");
        }

        entry->Flags = FileNumber == FileTable.None ? IoUringRequestFlags.None : IoUringRequestFlags.FixedFile;
    }

    /// <summary>Makes the system call, blocking; the byte count (0 for commands without data), or the negative error number.</summary>
    public readonly int Execute()
    {
        switch (Kind)
        {
            // Without flags there is a call that takes the buffer itself: the kernel has no vector to fetch and to check.
            case FileCommandKind.Read when Flags == ReadWriteFlags.None:
                return (int)FileIo.TryRead(FileDescriptor, Data, (nuint)LengthBytes, Offset);
            case FileCommandKind.Write when Flags == ReadWriteFlags.None:
                return (int)FileIo.TryWrite(FileDescriptor, Data, (nuint)LengthBytes, Offset);
            case FileCommandKind.Read or FileCommandKind.Write:
                var vector = new IoVector(Data, (nuint)LengthBytes);
                return (int)(Kind == FileCommandKind.Read
                    ? FileIo.TryReadVector(FileDescriptor, &vector, 1, Offset, Flags)
                    : FileIo.TryWriteVector(FileDescriptor, &vector, 1, Offset, Flags));
            case FileCommandKind.ReadVector:
                return (int)FileIo.TryReadVector(FileDescriptor, (IoVector*)Data, VectorCount, Offset, Flags);
            case FileCommandKind.WriteVector:
                return (int)FileIo.TryWriteVector(FileDescriptor, (IoVector*)Data, VectorCount, Offset, Flags);
            case FileCommandKind.Sync:
                return FileIo.TryDataSync(FileDescriptor);
            case FileCommandKind.Fallocate:
                return FileIo.TryFallocate(FileDescriptor, Mode, Offset, LengthBytes);
            default:
                return BlockDevice.TryDiscard(FileDescriptor, Offset, LengthBytes);
        }
    }
}
