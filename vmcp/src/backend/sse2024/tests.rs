//! Where messages are posted, and to whom answers go.

use super::*;

fn event(name: &str, data: &str) -> Event {
    Event {
        name: name.into(),
        data: data.to_owned(),
    }
}

/// The endpoint must resolve to the origin of the URL: it would carry requests elsewhere.
#[test]
fn an_endpoint_of_another_origin_is_refused() {
    let base: Url = "http://h:8080/a/sse".parse().unwrap();
    let resolved = |data: &str| {
        post_url(&base, &event("endpoint", data))
            .map(String::from)
            .ok()
    };

    assert_eq!(
        resolved("/messages?id=1").as_deref(),
        Some("http://h:8080/messages?id=1")
    );
    assert_eq!(
        resolved("messages").as_deref(),
        Some("http://h:8080/a/messages")
    );
    assert_eq!(
        resolved("http://h:8080/m").as_deref(),
        Some("http://h:8080/m")
    );
    for elsewhere in [
        "http://h/m",
        "https://h:8080/m",
        "//evil:8080/m",
        "http://evil:8080/m",
        "file:///etc",
    ] {
        assert_eq!(resolved(elsewhere), None, "{elsewhere}");
    }
    assert!(post_url(&base, &event("message", "/messages")).is_err());
}
