//! Reasons: one enumeration for conditions, statuses, metrics labels and `vmcp
//! explain`, and a second one for events.
//!
//! Owns the words and nothing else: which fact has which reason is decided where the
//! fact is known. The gateway's core has its own list of probe reasons, because it
//! depends on no package of ours; each of its words stands here too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every reason, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word as it stands in objects and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownReason;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|reason| reason.as_str() == text)
                    .ok_or(UnknownReason)
            }
        }
    };
}

/// A word that is no reason of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown reason")]
pub struct UnknownReason;

reasons!(
    /// Why a condition, a state or a check is as it is.
    Reason {
        // What a check of a backend finds.
        DnsFailed,
        ConnectRefused,
        ConnectTimeout,
        TlsFailed,
        HttpStatus,
        ProtocolError,
        UnsupportedVersion,
        HandshakeTimeout,
        AuthRequired,
        AuthFailed,
        CredentialMissing,
        ListFailed,
        ToolCallFailed,
        ToolError,
        ResponseTooLarge,
        Slow,
        RateLimited,
        HostRejected,
        Redirected,
        Idle,
        /// No check has ended yet.
        Pending,
        /// Calls fail although no check has failed yet.
        CallsFailing,

        // What keeps a workload from starting.
        SecretNotFound,
        SecretKeyMissing,
        ConfigMapNotFound,
        ImagePullFailed,
        CrashLoop,
        Unschedulable,
        AdmissionDenied,
        QuotaExceeded,
        /// A volume cannot be mounted for another reason than a missing reference.
        MountFailed,
        /// The container cannot be created for another reason than those above.
        ContainerCannotStart,

        // What a spec can have wrong although the schema accepts it.
        BackendNotFound,
        DuplicatePrefix,
        InvalidUrl,
        InvalidSelector,
        TooManyBackends,
        InvalidSpec,
        NameConflict,

        // The whole of a VirtualMCPServer.
        AllBackendsReady,
        SomeBackendsUnhealthy,
        TooFewBackendsReady,
        NoBackends,
        Degraded,
        GatewayUnavailable,
        GatewayAvailable,
        ConflictsFound,
        NoConflicts,
        BackendsDiscovered,

        // The whole of an MCPServer.
        NotObserved,
        ObserversDisagree,
        AllObserversReady,
        AllObserversFail,
        Stopped,
        WorkloadAvailable,
        WorkloadUnavailable,
        ReferencesResolved,
        Reachable,
        Authenticated,
        /// The condition speaks of something that this object does not have.
        NotApplicable,

        // The progress of a reconcile.
        RollingOut,
        Reconciled,
        /// An earlier object of that name is still being deleted.
        WaitingForDeletion,
        ApiUnavailable,
        Ready,
        Unknown,
    }
);

reasons!(
    /// Reasons of events; emitted on transitions only, all by the operator.
    EventReason {
        BackendReady,
        BackendDegraded,
        BackendUnhealthy,
        BackendAuthRequired,
        BackendRemoved,
        CatalogChanged,
        ConflictDetected,
        ReferenceUnresolved,
        RolloutStarted,
        RolloutFinished,
        NameConflict,
        InvalidSpec,
        UndecodableObject,
        PhaseChanged,
    }
);

#[cfg(test)]
mod tests {
    use super::{EventReason, Reason};

    /// Build 3: the documented words are all there, spelled as documented.
    #[test]
    fn every_documented_reason_exists() {
        let documented = "DnsFailed ConnectRefused ConnectTimeout TlsFailed HttpStatus \
            ProtocolError UnsupportedVersion HandshakeTimeout AuthRequired AuthFailed \
            CredentialMissing ListFailed ToolCallFailed ToolError ResponseTooLarge Slow \
            RateLimited HostRejected Redirected Idle SecretNotFound SecretKeyMissing \
            ConfigMapNotFound ImagePullFailed CrashLoop Unschedulable AdmissionDenied \
            QuotaExceeded BackendNotFound NotObserved ObserversDisagree NoBackends \
            SomeBackendsUnhealthy TooFewBackendsReady GatewayUnavailable NameConflict \
            Degraded Stopped";

        for word in documented.split_whitespace() {
            let reason: Reason = word.parse().unwrap_or_else(|_| panic!("{word} is missing"));
            assert_eq!(reason.as_str(), word);
        }
        for word in "BackendReady BackendDegraded BackendUnhealthy BackendRemoved CatalogChanged \
            ConflictDetected ReferenceUnresolved RolloutStarted"
            .split_whitespace()
        {
            assert!(word.parse::<EventReason>().is_ok(), "{word} is missing");
        }
    }

    /// Build 3: a reason is a valid `Condition.reason` and a bounded metrics label.
    #[test]
    fn every_reason_is_a_camel_case_word_and_written_as_its_name() {
        for reason in Reason::ALL {
            let word = reason.as_str();
            assert!(word.starts_with(|c: char| c.is_ascii_uppercase()));
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric()));
            assert_eq!(serde_json::to_value(reason).unwrap(), word);
        }
    }
}
