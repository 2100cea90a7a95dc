//! Operations of a JSON patch. Pure.

use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::Value;

#[must_use]
pub fn test(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: pointer(path),
        value,
    })
}

#[must_use]
pub fn replace(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation {
        path: pointer(path),
        value,
    })
}

#[must_use]
pub fn remove(path: &str) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: pointer(path),
    })
}

/// Our paths are constants with numbers in them; one that is no pointer would make the
/// whole patch fail at the server, not reach another place.
fn pointer(path: &str) -> PointerBuf {
    PointerBuf::parse(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;
    use serde_json::json;

    use super::{remove, replace, test};

    /// Decision 7: pruning is a JSON patch with tests.
    #[test]
    fn operations_are_written_as_rfc_6902_says() {
        let patch = Patch(vec![
            test("/metadata/uid", json!("1")),
            remove("/status/discoveredBackends/3"),
            replace("/status/backends", json!("0/0")),
        ]);

        assert_eq!(
            serde_json::to_value(&patch).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "1"},
                {"op": "remove", "path": "/status/discoveredBackends/3"},
                {"op": "replace", "path": "/status/backends", "value": "0/0"},
            ])
        );
    }
}
