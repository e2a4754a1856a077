namespace Vhost.VhostScsi.Tests;

/// <summary>What a driver finds in its buffers.</summary>
internal sealed record ScsiAnswer(uint WrittenBytes, uint SenseLength, uint Residual, byte Status, byte Response, byte[] Sense, byte[] DataIn)
{
    public int Key => Sense[2] & 0x0F;

    public int Additional => (Sense[12] << 8) | Sense[13];

    public ScsiAnswer Good()
    {
        Assert.Equal((0, 0), (Response, Status));
        return this;
    }

    public ScsiAnswer Check(int key, int additional)
    {
        Assert.Equal((0, 2), (Response, Status));
        Assert.Equal(18u, SenseLength);
        Assert.Equal((key, additional), (Key, Additional));
        return this;
    }
}
