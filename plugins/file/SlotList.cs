namespace Vhost.Plugins.File;

/// <summary>A first-in first-out list of slots, linked through <see cref="FileSlot.Next"/>.</summary>
internal unsafe struct SlotList
{
    private int _first;
    private int _last;

    /// <summary>A list without slots.</summary>
    public static SlotList Empty => new() { _first = -1, _last = -1 };

    /// <summary>Whether there is no slot in it.</summary>
    public readonly bool IsEmpty => _first < 0;

    /// <summary>Adds a slot at the end.</summary>
    /// <param name="slots">All slots.</param>
    /// <param name="index">The slot.</param>
    public void Add(FileSlot* slots, int index)
    {
        slots[index].Next = -1;
        if (_first < 0)
        {
            _first = index;
        }
        else
        {
            slots[_last].Next = index;
        }

        _last = index;
    }

    /// <summary>Takes the first slot of a list that is not empty.</summary>
    /// <param name="slots">All slots.</param>
    public int Take(FileSlot* slots)
    {
        var index = _first;
        _first = slots[index].Next;
        return index;
    }
}
