//! Whose an object is. Owns the owner of what we build (name, UID, labels, owner
//! reference) and the one judgement on a live object: ours, our predecessor's, or a
//! stranger's.
//!
//! Pure: it decides, `apply` acts. It exists because a forced apply onto a stranger's
//! object rewrites it, and our deletion then takes it along.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use vmcp_crds::{GROUP, VERSION, labels, names};

/// Which of our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnerKind {
    McpServer,
    VirtualMcpServer,
}

impl OwnerKind {
    /// The kind as it stands in objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::McpServer => "MCPServer",
            Self::VirtualMcpServer => "VirtualMCPServer",
        }
    }
}

/// An object of ours that owns others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub kind: OwnerKind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// Whose a live object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its controller is this very owner.
    Ours,
    /// Ours, and on its way out.
    Leaving,
    /// Its controller is an owner of the same kind and name that is gone.
    Predecessors,
    /// Anything else: never touched.
    Strangers,
}

impl Owner {
    /// The owner that `meta` describes; `None` where the server has not named it yet.
    #[must_use]
    pub fn of(kind: OwnerKind, meta: &ObjectMeta) -> Option<Self> {
        Some(Self {
            kind,
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        })
    }

    /// Name of everything that it owns.
    #[must_use]
    pub fn child_name(&self) -> String {
        match self.kind {
            OwnerKind::McpServer => names::owned_by_mcp_server(&self.name),
            OwnerKind::VirtualMcpServer => names::owned_by_virtual_mcp_server(&self.name),
        }
    }

    /// Labels that select its pods; they never change, because selectors cannot.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        let (name, own) = match self.kind {
            OwnerKind::McpServer => (labels::NAME_MCP_SERVER, labels::MCP_SERVER),
            OwnerKind::VirtualMcpServer => (labels::NAME_GATEWAY, labels::VIRTUAL_MCP_SERVER),
        };
        pairs(&[(labels::NAME, name), (own, &self.name)])
    }

    /// All labels of what it owns.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let component = match self.kind {
            OwnerKind::McpServer => labels::COMPONENT_BACKEND,
            OwnerKind::VirtualMcpServer => labels::COMPONENT_GATEWAY,
        };
        let mut all = self.selector();
        all.append(&mut pairs(&[
            (labels::INSTANCE, &self.name),
            (labels::COMPONENT, component),
            (labels::PART_OF, labels::PART_OF_VMCP),
            (labels::MANAGED_BY, labels::MANAGED_BY_OPERATOR),
        ]));
        all
    }

    /// The selector as the scale subresource wants it.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let parts: Vec<String> = self
            .selector()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        parts.join(",")
    }

    /// Metadata of an object that it owns.
    #[must_use]
    pub fn child_meta(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.child_name()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    /// Without `blockOwnerDeletion`: it needs rights on our finalizers that nobody needs
    /// otherwise, and there are no finalizers.
    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.kind.as_str().to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// Whose the object with this metadata is.
    #[must_use]
    pub fn standing(&self, meta: &ObjectMeta) -> Standing {
        let Some(controller) = controller(meta) else {
            return Standing::Strangers;
        };
        if controller.uid == self.uid {
            return match meta.deletion_timestamp {
                Some(_) => Standing::Leaving,
                None => Standing::Ours,
            };
        }
        let group = controller.api_version.split('/').next();
        let same = group == Some(GROUP)
            && controller.kind == self.kind.as_str()
            && controller.name == self.name;
        if same {
            Standing::Predecessors
        } else {
            Standing::Strangers
        }
    }
}

/// The controller reference of an object.
#[must_use]
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|reference| reference.controller == Some(true))
}

/// Namespace and name of the owner of `kind` that controls the object.
#[must_use]
pub fn controlled_by(kind: OwnerKind, meta: &ObjectMeta) -> Option<(String, String)> {
    let reference = controller(meta)?;
    let ours =
        reference.kind == kind.as_str() && reference.api_version.split('/').next() == Some(GROUP);
    if !ours {
        return None;
    }
    Some((meta.namespace.clone()?, reference.name.clone()))
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use super::{Owner, OwnerKind, Standing, controlled_by};

    fn owner(uid: &str) -> Owner {
        Owner {
            kind: OwnerKind::McpServer,
            namespace: "team".to_owned(),
            name: "github".to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// Build 4: strangers are told from predecessors and from our own objects.
    #[test]
    fn an_object_is_ours_only_with_a_controller_reference_to_this_very_uid() {
        let ours = owner("1").child_meta();
        let leaving = ObjectMeta {
            deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
            ..ours.clone()
        };
        let mut not_controlled = ours.clone();
        for reference in not_controlled.owner_references.iter_mut().flatten() {
            reference.controller = None;
        }
        let mut of_another_kind = owner("2").child_meta();
        for reference in of_another_kind.owner_references.iter_mut().flatten() {
            reference.kind = "Deployment".to_owned();
        }

        assert_eq!(owner("1").standing(&ours), Standing::Ours);
        assert_eq!(owner("1").standing(&leaving), Standing::Leaving);
        assert_eq!(owner("2").standing(&ours), Standing::Predecessors);
        assert_eq!(owner("1").standing(&not_controlled), Standing::Strangers);
        assert_eq!(owner("1").standing(&of_another_kind), Standing::Strangers);
        assert_eq!(
            owner("1").standing(&ObjectMeta::default()),
            Standing::Strangers
        );
    }

    /// Build 4: an event on an owned object leads to its owner.
    #[test]
    fn the_owner_of_an_object_is_found_from_its_metadata() {
        let meta = owner("1").child_meta();

        let found = controlled_by(OwnerKind::McpServer, &meta);

        assert_eq!(found, Some(("team".to_owned(), "github".to_owned())));
        assert_eq!(controlled_by(OwnerKind::VirtualMcpServer, &meta), None);
    }
}
