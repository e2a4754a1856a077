namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>fio's command lines.</summary>
internal static class Fio
{
    /// <summary>Writes a part of a disk at random with checksums in every block, reads it all back and compares.</summary>
    public static string Verify(string device, int sizeMiB, int blockBytes = 4096, int depth = 16, string more = "") =>
        $"fio --name=verify --filename={device} --ioengine=libaio --direct=1 --rw=randwrite --bs={blockBytes} --iodepth={depth} " +
        $"--size={sizeMiB}M --verify=crc32c --do_verify=1 --verify_fatal=1 {more}";

    /// <summary>
    /// Reads and writes with verification until it is stopped with <c>killall -INT fio</c>, or for the given time. A stopped fio ends with
    /// 128 plus its count of errors.
    /// </summary>
    public static string VerifyFor(string device, int seconds, int sizeMiB, string more = "") =>
        $"fio --name=load --filename={device} --ioengine=libaio --direct=1 --rw=randrw --bs=4096 --iodepth=8 --size={sizeMiB}M " +
        $"--verify=crc32c --verify_backlog=256 --verify_fatal=1 --time_based --runtime={seconds} {more}; code=$?; [ $code = 128 ] || exit $code";
}
