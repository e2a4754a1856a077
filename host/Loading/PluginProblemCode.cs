namespace Vhost.Host.Loading;

/// <summary>What can be wrong with a plugin, as a stable code for scripts and tests.</summary>
public enum PluginProblemCode
{
    /// <summary>A directory of plugins does not exist or cannot be read.</summary>
    DirectoryUnreadable,

    /// <summary>The directory <c>plugins/ID</c> holds no <c>ID.dll</c>.</summary>
    FileMissing,

    /// <summary>The file cannot be opened or read.</summary>
    FileUnreadable,

    /// <summary>The file is not a .NET assembly.</summary>
    NotAnAssembly,

    /// <summary>The assembly does not say which contract it was compiled against.</summary>
    NoContract,

    /// <summary>The plugin needs a newer contract than the host's.</summary>
    ContractTooNew,

    /// <summary>The plugin was made for an older contract that the host no longer serves.</summary>
    ContractTooOld,

    /// <summary>The plugin was compiled for a target framework that the host's runtime cannot run.</summary>
    WrongFramework,

    /// <summary>The plugin brings its own copy of an assembly that it must share with the host.</summary>
    PrivateCopy,

    /// <summary>The plugin refers to a newer version of a shared assembly than the host has.</summary>
    SharedAssemblyTooNew,

    /// <summary>The plugin exports nothing that the host could use.</summary>
    NoExport,

    /// <summary>A type or an assembly that the plugin needs cannot be loaded.</summary>
    LoadFailed,

    /// <summary>The plugin's parts cannot be composed: a constructor threw, an import is missing.</summary>
    CompositionFailed,

    /// <summary>The plugin exports a part with impossible metadata.</summary>
    BadExport,

    /// <summary>Two plugins export a part of the same kind and type name.</summary>
    DuplicateType,

    /// <summary>Two directories hold a plugin of the same id.</summary>
    DuplicateId,

    /// <summary>Others than root and vhostd's user may change the plugin's files.</summary>
    Untrusted,

    /// <summary>The plugin is not one of those that may be loaded.</summary>
    NotAllowed,

    /// <summary>The plugin's files are not those whose SHA-256 is given.</summary>
    DigestMismatch,
}
