//! Programs that take a secret where its name does not say so, and where in their arguments it is.
//!
//! Sources: the manual page, or the help text, of each program.

/// Where a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The value of an option: the next argument, or what follows `=`.
    Option(&'static str),
    /// The value of a short option: the next argument, or attached (`-pSECRET`).
    Short(&'static str),
    /// The value of an option that it is always attached to.
    Attached(&'static str),
    /// What follows `%` in the value of an option (`-U user%SECRET`).
    AfterPercent(&'static str),
    /// The argument behind one whose text is, or ends with, the name of a secret (`set aws_secret_access_key SECRET`).
    AfterName,
    /// The argument with this number, counted from 1 behind the subcommand without the options, unless it is an assignment.
    Position(usize),
    /// The last argument, if this letter is among the short options (`-nb user SECRET`).
    LastWith(char),
}

/// A form of secrets of some programs.
pub(super) struct Rule {
    /// Base names of the programs.
    pub(super) programs: &'static [&'static str],
    /// Words that have to be among the arguments, in this order: subcommands.
    pub(super) within: &'static [&'static str],
    pub(super) form: Form,
}

const fn rule(programs: &'static [&'static str], within: &'static [&'static str], form: Form) -> Rule {
    Rule { programs, within, form }
}

const REGISTRIES: &[&str] = &["docker", "podman", "nerdctl", "buildah", "helm", "skopeo", "crane", "oras", "az", "oc"];
const MYSQL: &[&str] = &[
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mysqlimport",
    "mysqlcheck",
    "mysqlshow",
    "mysqlbinlog",
    "mariadb",
    "mariadb-dump",
    "mariadb-admin",
    "mariadb-import",
    "mariadb-check",
    "mariadb-show",
    "mariadb-binlog",
];
const MONGO: &[&str] =
    &["mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "mongostat", "mongotop"];
const LDAP: &[&str] = &["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd", "ldapwhoami", "ldapcompare"];
const SAMBA: &[&str] = &["smbclient", "rpcclient", "smbget", "smbcacls", "smbtree", "net"];
const SNMP: &[&str] = &["snmpget", "snmpset", "snmpwalk", "snmpbulkwalk", "snmpgetnext", "snmptrap"];

/// The rules.
pub(super) const RULES: &[Rule] = &[
    rule(&["sshpass", "rdesktop", "hydra", "netexec", "nxc", "crackmapexec", "evil-winrm"], &[], Form::Short("-p")),
    rule(&["useradd", "usermod"], &[], Form::Short("-p")),
    rule(MYSQL, &[], Form::Attached("-p")),
    rule(MONGO, &[], Form::Short("-p")),
    rule(REGISTRIES, &["login"], Form::Short("-p")),
    rule(&["skopeo", "podman", "buildah"], &[], Form::Option("--creds")),
    rule(&["skopeo"], &[], Form::Option("--src-creds")),
    rule(&["skopeo"], &[], Form::Option("--dest-creds")),
    rule(&["curl"], &[], Form::Short("-u")),
    rule(&["curl"], &[], Form::Short("-U")),
    rule(&["curl"], &[], Form::Option("--user")),
    rule(&["curl"], &[], Form::Option("--proxy-user")),
    rule(&["lftp"], &[], Form::Short("-u")),
    rule(&["redis-cli", "valkey-cli"], &[], Form::Option("-a")),
    rule(&["redis-cli", "valkey-cli"], &[], Form::Option("--pass")),
    rule(LDAP, &[], Form::Short("-w")),
    rule(&["openssl"], &[], Form::Option("-passin")),
    rule(&["openssl"], &[], Form::Option("-passout")),
    rule(&["openssl"], &[], Form::Option("-pass")),
    rule(&["openssl"], &["enc"], Form::Option("-k")),
    rule(&["aws"], &["configure", "set"], Form::AfterName),
    rule(&["npm", "yarn", "pnpm", "pip", "git", "gcloud"], &["config", "set"], Form::AfterName),
    rule(&["nmcli"], &[], Form::AfterName),
    rule(&["vault", "bao"], &["login"], Form::Position(1)),
    rule(&["rclone"], &["obscure"], Form::Position(1)),
    rule(&["wpa_passphrase"], &[], Form::Position(2)),
    rule(&["htpasswd"], &[], Form::LastWith('b')),
    rule(&["7z", "7za", "7zr", "7zz", "rar", "unrar"], &[], Form::Attached("-p")),
    rule(&["rar"], &[], Form::Attached("-hp")),
    rule(&["zip", "unzip", "zipcloak"], &[], Form::Short("-P")),
    rule(&["sqlcmd", "bcp", "ipmitool", "mosquitto_pub", "mosquitto_sub"], &[], Form::Short("-P")),
    rule(SAMBA, &[], Form::AfterPercent("-U")),
    rule(SAMBA, &[], Form::AfterPercent("--user")),
    rule(SNMP, &[], Form::Option("-A")),
    rule(SNMP, &[], Form::Option("-X")),
    rule(SNMP, &[], Form::Short("-c")),
    rule(&["ssh-keygen"], &[], Form::Option("-N")),
    rule(&["ssh-keygen"], &[], Form::Option("-P")),
    rule(&["plink", "pscp", "psftp"], &[], Form::Option("-pw")),
    rule(&["xfreerdp"], &[], Form::Attached("/p:")),
    rule(&["doctl"], &[], Form::Short("-t")),
];

/// Programs that run the one in their arguments.
pub(super) const WRAPPERS: &[&str] = &[
    "sudo", "doas", "env", "nohup", "nice", "ionice", "timeout", "time", "xargs", "watch", "strace", "setsid",
    "stdbuf", "chroot", "nsenter", "unshare", "su", "runuser", "setpriv", "flock", "busybox", "kubectl", "docker",
    "podman", "nerdctl", "crictl", "ssh",
];

/// Shells, whose option `-c` has commands.
pub(super) const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "ksh", "zsh", "fish"];
