//! One word per object and per backend: the phases of both kinds and the states of a
//! backend. Which situation has which phase is decided where the facts are known.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
            Serialize, Deserialize, JsonSchema,
        )]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word as it stands in the object.
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
    };
}

words!(
    /// `MCPServer.status.phase`.
    McpServerPhase {
        #[default]
        Pending,
        Ready,
        Degraded,
        Unhealthy,
        AuthRequired,
        Stopped,
    }
);

words!(
    /// `VirtualMCPServer.status.phase`.
    VirtualPhase {
        #[default]
        Pending,
        Ready,
        Degraded,
        Failed,
    }
);

words!(
    /// `VirtualMCPServer.status.discoveredBackends[].state`.
    BackendState {
        #[default]
        Pending,
        Ready,
        Degraded,
        Unhealthy,
        AuthRequired,
    }
);

#[cfg(test)]
mod tests {
    use super::{BackendState, McpServerPhase, VirtualPhase};

    /// Build 3: the words in the objects are those of the documented enumeration.
    #[test]
    fn every_phase_is_written_as_its_name() {
        for phase in McpServerPhase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
        for phase in VirtualPhase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
        for state in BackendState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(BackendState::ALL.len(), 5);
    }
}
