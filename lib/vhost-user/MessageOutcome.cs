namespace Vhost.VhostUser;

/// <summary>What became of a message.</summary>
internal enum MessageOutcome
{
    /// <summary>Done; acknowledged where the front-end asks for it.</summary>
    Done,

    /// <summary>Refused without harm to the session; the acknowledgement says so.</summary>
    Refused,

    /// <summary>Done, and its reply is sent.</summary>
    Replied,
}
