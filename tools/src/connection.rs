//! Which store is meant: a directory, or a server that has it open.
//!
//! What is said on the command line goes before the environment, and both go before the client file: `client.toml` in the
//! folder `erstwhile` of the user's configuration (`$XDG_CONFIG_HOME`, else `~/.config`), whose keys are those of
//! [`ClientFile`].
//!
//! Invariant: a token never stands on a command line, where other users of the machine could see it.

use crate::args::{Cli, ServerArgs};
use crate::fail::Failure;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The longest token that a server takes.
const TOKEN_BYTES_MAX: usize = 256;

/// The client file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientFile {
    /// Host and port.
    pub server: Option<String>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// Certificates to trust.
    pub ca: Option<PathBuf>,
    /// The name in the server's certificate.
    pub server_name: Option<String>,
    /// The client's own certificate.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
}

/// A server, and how to speak to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToServer {
    /// Host and port.
    pub address: String,
    /// What proves who asks.
    pub token: String,
    /// Certificates to trust; `None`: no TLS.
    pub ca: Option<PathBuf>,
    /// The name in the server's certificate.
    pub server_name: Option<String>,
    /// The client's own certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Where answers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A store's directory.
    Store(PathBuf),
    /// A server.
    Server(ToServer),
}

/// Whether an address names a port, or what should be one.
fn has_port(address: &str) -> bool {
    let is_bare = address.parse::<std::net::IpAddr>().is_ok();
    !is_bare && address.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']'))
}

/// Ports of this machine alone need no TLS.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The client file, if there is one.
fn client_file(variable: impl Fn(&str) -> Option<String>) -> Result<ClientFile, Failure> {
    let folder = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    let Some(path) = folder.map(|folder| folder.join("erstwhile").join("client.toml")) else {
        return Ok(ClientFile::default());
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ClientFile::default()),
        Err(error) => Err(Failure::file(&path, &error)),
    }
}

impl ToServer {
    /// What the command line, the environment and the client file say; `None` if none names a server.
    pub fn find(args: &ServerArgs, variable: impl Fn(&str) -> Option<String>) -> Result<Option<ToServer>, Failure> {
        let file = client_file(&variable)?;
        let Some(address) = args.server.clone().or(file.server) else { return Ok(None) };
        if !has_port(&address) {
            let host =
                if address.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{address}]") } else { address.clone() };
            let host = host.trim_end_matches(':');
            let text = format!("the server {address} has no port: write host and port, such as {host}:7787");
            return Err(Failure::Usage(text));
        }
        let token = match args.token_file.clone() {
            Some(path) => read_token(&path)?,
            None => match (variable("ERSTWHILE_TOKEN"), file.token_file) {
                (Some(token), _) => token,
                (None, Some(path)) => read_token(&path)?,
                (None, None) => String::new(),
            },
        };
        let ca = args.ca.clone().or(file.ca);
        if ca.is_none() && !is_loopback(&address) {
            let text = format!(
                "the server {address} is not on this machine, so it speaks TLS: give the certificate to trust with --ca FILE"
            );
            return Err(Failure::Usage(text));
        }
        let certificate = args.client_certificate.clone().or(file.client_certificate);
        Ok(Some(ToServer {
            address,
            token,
            ca,
            server_name: args.server_name.clone().or(file.server_name),
            certificate: certificate.zip(args.client_key.clone().or(file.client_key)),
        }))
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let token = std::str::from_utf8(&bytes).ok().map(str::trim);
    let is_token = |text: &&str| !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && !text.contains(char::is_control);
    token.filter(is_token).map(str::to_owned).ok_or_else(|| {
        Failure::Failed(format!(
            "{}: it holds no token, which is one line of at most {TOKEN_BYTES_MAX} bytes; is it the right file? `erstwhile \
             serve` makes read.token, ingest.token and admin.token in the folder `server` of its store",
            path.display()
        ))
    })
}

impl Source {
    /// Which store is meant.
    pub fn find(cli: &Cli) -> Result<Source, Failure> {
        if let Some(store) = &cli.store {
            if cli.server.server.is_some() {
                let text = "both a store and a server are named; give --store DIR or --server ADDR, not both (they may be set \
                            as ERSTWHILE_STORE and ERSTWHILE_SERVER)";
                return Err(Failure::Usage(text.to_owned()));
            }
            return Ok(Source::Store(store.clone()));
        }
        let found = ToServer::find(&cli.server, |name| std::env::var(name).ok())?;
        found.map(Source::Server).ok_or_else(|| {
            Failure::Usage(
                "which store? Give --store DIR or set ERSTWHILE_STORE; or ask a server: --server ADDR, or \
                 ERSTWHILE_SERVER"
                    .to_owned(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(args: &ServerArgs, variables: &[(&str, &str)]) -> Result<Option<ToServer>, Failure> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        ToServer::find(args, value)
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("erstwhile");
        std::fs::create_dir(&config).unwrap();
        let (token, other) = (folder.path().join("token"), folder.path().join("other"));
        std::fs::write(&token, " of-file\n").unwrap();
        std::fs::write(&other, "of-args\n").unwrap();
        let text = format!("server = \"localhost:1\"\ntoken_file = {:?}\n", token.to_str().unwrap());
        std::fs::write(config.join("client.toml"), text).unwrap();
        let home = [("XDG_CONFIG_HOME", folder.path().to_str().unwrap())];
        let found = find(&ServerArgs::default(), &home).unwrap().unwrap();
        assert_eq!((&*found.address, &*found.token), ("localhost:1", "of-file"));
        let both = [home[0], ("ERSTWHILE_TOKEN", "of-environment")];
        assert_eq!(find(&ServerArgs::default(), &both).unwrap().unwrap().token, "of-environment");
        let args = ServerArgs { server: Some("[::1]:2".to_owned()), token_file: Some(other), ..ServerArgs::default() };
        let found = find(&args, &both).unwrap().unwrap();
        assert_eq!((&*found.address, &*found.token), ("[::1]:2", "of-args"));
        for none in ["", "two\nlines", &"text ".repeat(2000)] {
            std::fs::write(&token, none).unwrap();
            let told = find(&ServerArgs::default(), &home).unwrap_err().to_string();
            assert!(told.contains(token.to_str().unwrap()) && told.contains("holds no token"), "{told}");
        }
        std::fs::write(config.join("client.toml"), "sever = \"x\"").unwrap();
        assert!(find(&args, &home).unwrap_err().to_string().contains("sever"));
    }

    #[test]
    fn other_machines_need_tls() {
        let args = |server: &str| ServerArgs { server: Some(server.to_owned()), ..ServerArgs::default() };
        assert!(find(&args("127.0.0.1:7787"), &[]).unwrap().is_some());
        for address in ["store.example:7787", "10.0.0.7:7787"] {
            let refused = find(&args(address), &[]).unwrap_err();
            assert!(refused.to_string().contains("--ca"), "{refused}");
            let trusted = ServerArgs { ca: Some(PathBuf::from("ca.pem")), ..args(address) };
            assert!(find(&trusted, &[]).unwrap().is_some_and(|found| found.ca.is_some()));
        }
        assert_eq!(find(&ServerArgs::default(), &[]).unwrap(), None);
    }

    #[test]
    fn an_address_without_a_port_is_told_so() {
        for (address, such_as) in [
            ("127.0.0.1", "such as 127.0.0.1:7787"),
            ("localhost:", "such as localhost:7787"),
            ("::1", "such as [::1]:7787"),
            ("[::1]", "such as [::1]:7787"),
            ("store.example", "such as store.example:7787"),
        ] {
            let args = ServerArgs { server: Some(address.to_owned()), ..ServerArgs::default() };
            let refused = find(&args, &[]).unwrap_err();
            assert!(refused.exit() == crate::exit::Exit::Usage && refused.to_string().contains(such_as), "{refused}");
        }
    }
}
