//! The programs that a control plane consists of.

use std::path::PathBuf;

use anyhow::Result;

use crate::tools::find;

/// All of them, present.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub etcd: PathBuf,
    pub apiserver: PathBuf,
    pub controller_manager: PathBuf,
    pub kubectl: PathBuf,
}

impl Tools {
    pub fn find() -> Result<Self> {
        Ok(Self {
            etcd: find("etcd")?,
            apiserver: find("kube-apiserver")?,
            controller_manager: find("kube-controller-manager")?,
            kubectl: find("kubectl")?,
        })
    }
}
