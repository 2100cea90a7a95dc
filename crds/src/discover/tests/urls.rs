//! Which URL a server has, and what is said of one that cannot be used.

use serde_json::json;

use super::{NAMESPACE, server, spec};
use crate::MCPServer;
use crate::discover::discover;

fn url_of(object: MCPServer) -> String {
    let gateway = spec(json!({"backends": {"selector": {}}}));
    let found = discover(&gateway, NAMESPACE, [&object]);
    match &found.backends[0].url {
        Ok(url) => url.to_string(),
        Err(problem) => format!("{}: {}", problem.reason, problem.message),
    }
}

/// Build 4: where each kind of server is reached.
#[test]
fn the_url_follows_from_the_kind_of_server_and_its_transport() {
    assert_eq!(
        url_of(server(
            "w",
            json!({"workload": {"image": "i", "port": 9000}})
        )),
        "http://mcp-w.team.svc:9000/mcp"
    );
    assert_eq!(
        url_of(server(
            "s",
            json!({"service": {"name": "svc", "port": 80}, "transport": "sse"})
        )),
        "http://svc.team.svc/sse"
    );
    assert_eq!(
        url_of(server(
            "r",
            json!({"remote": {"url": "https://r.example.com"}, "path": "/x"})
        )),
        "https://r.example.com/x"
    );
    assert_eq!(
        url_of(server(
            "r",
            json!({"remote": {"url": "https://R.example.com:8443/a?k=v"}})
        )),
        "https://r.example.com:8443/a?k=v"
    );
    assert_eq!(
        url_of(server(
            "v6",
            json!({"remote": {"url": "http://[::1]:81/", "allowInsecure": true}})
        )),
        "http://[::1]:81/mcp"
    );
}

/// Build 8: a URL that does not parse becomes a problem with reason and fix.
#[test]
fn a_url_that_cannot_be_used_says_why_and_what_to_do_and_never_repeats_a_password() {
    let cases = [
        ("https://[::1", "cannot be parsed"),
        ("https://host:99999/", "cannot be parsed"),
        ("ftp://host/", "begin it with https://"),
        ("http://host/", "set spec.remote.allowInsecure: true"),
        ("https://host/#x", "remove everything from the # on"),
        ("https://host:0/", "port"),
        ("https://user:s3cret@host/", "user name or a password"),
    ];
    for (url, expected) in cases {
        let text = url_of(server("r", json!({"remote": {"url": url}})));

        assert!(
            text.starts_with("InvalidUrl: MCPServer \"r\": spec.remote.url: "),
            "{text}"
        );
        assert!(text.contains(expected), "{url}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

/// Build 8: files reach the gateway without admission.
#[test]
fn a_server_of_no_kind_or_of_two_is_a_problem() {
    let url = json!({"url": "https://r.example.com"});
    let neither = url_of(server("x", json!({})));
    let both = url_of(server(
        "x",
        json!({"remote": url, "service": {"name": "s", "port": 1}}),
    ));

    assert!(
        neither.contains("exactly one of workload, service, remote"),
        "{neither}"
    );
    assert_eq!(neither, both);
    let port = url_of(server(
        "x",
        json!({"service": {"name": "s", "port": 70000}}),
    ));
    assert!(port.contains("spec.service.port: 70000"), "{port}");
}
