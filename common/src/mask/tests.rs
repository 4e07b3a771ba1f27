use std::sync::LazyLock;

use super::*;

fn masked(args: &[&str]) -> Vec<String> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    static MASK: LazyLock<Mask> = LazyLock::new(|| Mask::new(&MaskConfig::default()).unwrap());
    MASK.args(&args)
}

#[test]
fn secrets_are_masked() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["app", "--password=hunter2"], &["app", "--password=***"]),
        (&["app", "--password", "hunter2", "-v"], &["app", "--password", "***", "-v"]),
        (&["app", "--db-password", "-starts-with-dash"], &["app", "--db-password", "***"]),
        (&["app", "--password", "--token", "t"], &["app", "--password", "--token", "***"]),
        (&["kubectl", "--token=abc.def", "get", "pods"], &["kubectl", "--token=***", "get", "pods"]),
        (&["env", "AWS_SECRET_ACCESS_KEY=wJalr", "aws"], &["env", "AWS_SECRET_ACCESS_KEY=***", "aws"]),
        (&["sh", "-c", "export DB_PASSWORD='a b'; run"], &["sh", "-c", "export DB_PASSWORD='***'; run"]),
        (&["sh", "-c", "app --password x y"], &["sh", "-c", "app --password *** y"]),
        (&["curl", "-H", "Authorization: Bearer abcdefgh12345"], &["curl", "-H", "Authorization: Bearer ***"]),
        (&["curl", "-H", "X-Api-Key: 12345"], &["curl", "-H", "X-Api-Key: ***"]),
        (&["curl", "-u", "alice:pw", "https://h/"], &["curl", "-u", "***", "https://h/"]),
        (&["curl", "https://u:pw@h/?token=t&x=1"], &["curl", "https://u:***@h/?token=***&x=1"]),
        (&["curl", "-d", r#"{"password": "p w", "a": 1}"#], &["curl", "-d", r#"{"password": "***", "a": 1}"#]),
        (
            &["git", "clone", "https://x:ghp_0123456789abcdefghijkl@github.com/a"],
            &["git", "clone", "https://x:***@github.com/a"],
        ),
        (&["/usr/bin/mysql", "-phunter2", "-u", "root", "db"], &["/usr/bin/mysql", "-p***", "-u", "root", "db"]),
        (&["mysql", "-p", "db"], &["mysql", "-p", "db"]),
        (&["sshpass", "-p", "pw", "ssh", "host"], &["sshpass", "-p", "***", "ssh", "host"]),
        (&["psql", "postgres://app:s3cret@db:5432/x"], &["psql", "postgres://app:***@db:5432/x"]),
        (&["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"], &["x", "***"]),
    ];
    for (args, expected) in cases {
        assert_eq!(masked(args), *expected);
    }
}

#[test]
fn other_arguments_are_not_masked() {
    let cases: &[&[&str]] = &[
        &["ls", "-p", "/etc/passwd"],
        &["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
        &["curl", "https://example.com:8443/a?b=c"],
        &["app", "--password-file", "/run/pw"],
        &["nsenter", "-t", "1", "-m", "--", "bash"],
        &["ssh", "-p", "22", "host"],
        &["docker", "run", "-p", "8080:80", "nginx"],
        &["openssl", "req", "-keyout", "k.pem"],
        &["tokenize", "--input", "a"],
    ];
    for args in cases {
        assert_eq!(masked(args), *args);
    }
}

#[test]
fn rules_from_the_configuration_are_applied() {
    let config =
        MaskConfig { patterns: vec!["card-[0-9]+".into(), "pin (?P<secret>[0-9]+)".into()], ..MaskConfig::default() };
    let mask = Mask::new(&config).unwrap();
    assert_eq!(mask.text("pay card-123 pin 99 now"), "pay *** pin *** now");
    let off = Mask::new(&MaskConfig { enabled: false, ..config.clone() }).unwrap();
    assert_eq!(off.args(&["a".into(), "--password=x".into()]), ["a", "--password=x"]);
    let own = Mask::new(&MaskConfig { defaults: false, ..config }).unwrap();
    assert_eq!(own.args(&["a".into(), "--password=x".into(), "card-1".into()]), ["a", "--password=x", "***"]);
    let wrong = Mask::new(&MaskConfig { patterns: vec!["(".into()], ..MaskConfig::default() }).unwrap_err();
    assert!(wrong.to_string().contains("\"(\""), "{wrong}");
}

/// Command lines with secrets, as words, and what is left of them.
const SECRETS: &[(&str, &str)] = &[
    ("docker login -p SECRET -u u reg.io", "docker login -p *** -u u reg.io"),
    ("docker login -u u -pSECRET", "docker login -u u -p***"),
    ("podman login -p SECRET reg.io", "podman login -p *** reg.io"),
    ("nerdctl login -u u -p SECRET", "nerdctl login -u u -p ***"),
    ("helm registry login -u u -p SECRET host", "helm registry login -u u -p *** host"),
    ("skopeo login -p SECRET host", "skopeo login -p *** host"),
    ("skopeo copy --src-creds u:SECRET a b", "skopeo copy --src-creds *** a b"),
    ("skopeo copy --dest-creds=u:SECRET a b", "skopeo copy --dest-creds=*** a b"),
    ("az login -u u -p SECRET", "az login -u u -p ***"),
    ("oc login -u u -p SECRET", "oc login -u u -p ***"),
    ("oras login -p SECRET host", "oras login -p *** host"),
    ("mongosh -u u -p SECRET db", "mongosh -u u -p *** db"),
    ("mongodump -pSECRET", "mongodump -p***"),
    ("mongo --host h -p SECRET", "mongo --host h -p ***"),
    ("mysql -pSECRET db", "mysql -p*** db"),
    ("mysqldump -u root -pSECRET --all-databases", "mysqldump -u root -p*** --all-databases"),
    ("mariadb-dump -pSECRET db", "mariadb-dump -p*** db"),
    ("mariadb-admin -u root -pSECRET status", "mariadb-admin -u root -p*** status"),
    ("mysqlimport -pSECRET db f", "mysqlimport -p*** db f"),
    ("sshpass -p SECRET ssh h", "sshpass -p *** ssh h"),
    ("sshpass -pSECRET ssh h", "sshpass -p*** ssh h"),
    ("aws configure set aws_secret_access_key SECRET", "aws configure set aws_secret_access_key ***"),
    ("aws configure set aws_session_token SECRET --profile p", "aws configure set aws_session_token *** --profile p"),
    ("npm config set //registry.io/:_authToken SECRET", "npm config set //registry.io/:_authToken ***"),
    ("vault login SECRET", "vault login ***"),
    ("vault login -no-print SECRET", "vault login -no-print ***"),
    ("bao login SECRET", "bao login ***"),
    ("htpasswd -b /etc/f user SECRET", "htpasswd -b /etc/f user ***"),
    ("htpasswd -nbB user SECRET", "htpasswd -nbB user ***"),
    ("7z a -pSECRET x.7z f", "7z a -p*** x.7z f"),
    ("7za x -pSECRET x.7z", "7za x -p*** x.7z"),
    ("rar a -hpSECRET x.rar f", "rar a -hp*** x.rar f"),
    ("unrar x -pSECRET x.rar", "unrar x -p*** x.rar"),
    ("zip -P SECRET x.zip f", "zip -P *** x.zip f"),
    ("unzip -PSECRET x.zip", "unzip -P*** x.zip"),
    ("smbclient -U u%SECRET //h/s", "smbclient -U u%*** //h/s"),
    ("smbclient --user=u%SECRET //h/s", "smbclient --user=u%*** //h/s"),
    ("rpcclient -Uu%SECRET h", "rpcclient -Uu%*** h"),
    ("net -U u%SECRET rpc user", "net -U u%*** rpc user"),
    ("curl -u u:SECRET http://h", "curl -u *** http://h"),
    ("curl --user u:SECRET http://h", "curl --user *** http://h"),
    ("curl --proxy-user=u:SECRET http://h", "curl --proxy-user=*** http://h"),
    ("redis-cli -a SECRET ping", "redis-cli -a *** ping"),
    ("redis-cli --pass SECRET ping", "redis-cli --pass *** ping"),
    ("ldapsearch -w SECRET -x", "ldapsearch -w *** -x"),
    ("ldapmodify -wSECRET -f f", "ldapmodify -w*** -f f"),
    ("openssl rsa -passin pass:SECRET", "openssl rsa -passin ***"),
    ("openssl enc -aes256 -k SECRET", "openssl enc -aes256 -k ***"),
    ("ipmitool -H h -U u -P SECRET power", "ipmitool -H h -U u -P *** power"),
    ("sqlcmd -S h -U sa -P SECRET", "sqlcmd -S h -U sa -P ***"),
    ("mosquitto_pub -u u -P SECRET -t t", "mosquitto_pub -u u -P *** -t t"),
    ("snmpwalk -v2c -c SECRET h", "snmpwalk -v2c -c *** h"),
    ("snmpget -v3 -A SECRET -X SECRET h", "snmpget -v3 -A *** -X *** h"),
    ("ssh-keygen -t ed25519 -N SECRET -f k", "ssh-keygen -t ed25519 -N *** -f k"),
    ("plink -pw SECRET h", "plink -pw *** h"),
    ("xfreerdp /u:u /p:SECRET /v:h", "xfreerdp /u:u /p:*** /v:h"),
    ("nmcli dev wifi connect ssid password SECRET", "nmcli dev wifi connect ssid password ***"),
    ("rclone obscure SECRET", "rclone obscure ***"),
    ("wpa_passphrase ssid SECRET", "wpa_passphrase ssid ***"),
    ("useradd -p SECRET u", "useradd -p *** u"),
    ("sudo docker login -p SECRET", "sudo docker login -p ***"),
    ("sudo -u root mysql -pSECRET", "sudo -u root mysql -p***"),
    ("env A=b redis-cli -a SECRET", "env A=b redis-cli -a ***"),
    ("timeout 5 mongosh -p SECRET", "timeout 5 mongosh -p ***"),
    ("kubectl exec pod -- redis-cli -a SECRET ping", "kubectl exec pod -- redis-cli -a *** ping"),
    ("docker exec c mysql -pSECRET", "docker exec c mysql -p***"),
    ("/usr/bin/docker login -p SECRET", "/usr/bin/docker login -p ***"),
];

/// Command lines that are similar, and have none.
const NO_SECRETS: &[&str] = &[
    "docker run -p 8080:80 nginx",
    "docker ps -p",
    "docker login reg.io",
    "podman run -p 80:80 x",
    "helm install -f values.yaml x",
    "helm login",
    "az vm list -o table",
    "mongosh -p",
    "mongosh -p --host h",
    "mongodump --port 27017",
    "mysql -p db",
    "mysql -P 3306 db",
    "mysqldump --protocol=tcp db",
    "mariadb-dump --all-databases",
    "sshpass -e ssh h",
    "sshpass -f /run/f ssh h",
    "aws configure set region eu-west-1",
    "aws configure get aws_secret_access_key",
    "aws s3 cp a b",
    "npm config set registry https://r",
    "npm install -p x",
    "vault login -method=github",
    "vault login -method=userpass username=bob",
    "vault status -address http://h",
    "vault read secret/x",
    "htpasswd -n user",
    "htpasswd -c /etc/f user",
    "htpasswd -B /etc/f user",
    "7z a x.7z -p",
    "7z l x.7z",
    "rar l x.rar",
    "zip -r x.zip d",
    "unzip -p x.zip f",
    "unzip -l x.zip",
    "smbclient -U u //h/s",
    "smbclient -L h",
    "curl -k http://h",
    "curl -O http://h/u",
    "curl --url http://h",
    "redis-cli -h h ping",
    "redis-cli get a",
    "ldapsearch -x -b dc=x",
    "ldapsearch -W -D cn=x",
    "openssl req -keyout k.pem",
    "openssl x509 -in c.pem",
    "ipmitool -H h power status",
    "sqlcmd -S h -E",
    "mosquitto_sub -t a/b -p 1883",
    "snmpwalk -v2c h",
    "ssh-keygen -t ed25519 -f k",
    "ssh-keygen -y -f k",
    "plink -P 22 h",
    "xfreerdp /v:h /port:3389",
    "nmcli dev wifi list",
    "rclone copy a b",
    "wpa_passphrase ssid",
    "useradd -m -s /bin/sh u",
    "sudo ls -p /etc",
    "env -u A ls",
    "timeout 5 ls -a",
    "kubectl get pods -p",
    "kubectl exec pod -- ls -a",
    "grep -p login docker",
    "ssh -p 22 h",
    "nsenter -t 1 -m -p",
    "mkdir -p a/b",
    "cp -a a b",
    "ps -p 1",
];

fn masked_words(line: &str) -> String {
    masked(&line.split(' ').collect::<Vec<_>>()).join(" ")
}

#[test]
fn places_of_secrets_among_the_arguments_of_programs() {
    assert!(SECRETS.len() >= 60 && NO_SECRETS.len() >= 60);
    for (line, expected) in SECRETS {
        assert_eq!(masked_words(line), *expected);
    }
    for line in NO_SECRETS {
        assert_eq!(masked_words(line), *line);
    }
}

#[test]
fn the_commands_of_a_shell_are_looked_through() {
    for (line, expected) in SECRETS.iter().filter(|(line, _)| !line.starts_with("kubectl")) {
        for shell in ["sh", "bash"] {
            let text = format!("cd /x && {line}; echo 'it''s done'");
            let expected = format!("cd /x && {expected}; echo 'it''s done'");
            assert_eq!(masked(&[shell, "-c", &text]), [shell, "-c", &expected]);
            assert_eq!(masked(&["sudo", shell, "-ec", &text]), ["sudo", shell, "-ec", &expected]);
        }
    }
    for line in NO_SECRETS {
        assert_eq!(masked(&["sh", "-c", line]), ["sh", "-c", line]);
    }
    let quoted = masked(&["sh", "-c", "docker login -p 'a b' reg && htpasswd -b f u \"x y\""]);
    assert_eq!(quoted, ["sh", "-c", "docker login -p *** reg && htpasswd -b f u ***"]);
}
