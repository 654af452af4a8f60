//! What the log adds up to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use deltalake_core::kernel::Action;

use super::{Change, DataFile, Snapshot, action};
use crate::Table;

/// A table's files and positions at a version, and which files left recently.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) snapshot: Arc<Snapshot>,
    /// When files were removed, in milliseconds since the epoch, by path.
    pub(super) removed: HashMap<String, i64>,
    files: BTreeMap<String, DataFile>,
}

impl State {
    /// Before the first version.
    pub(super) fn empty(table: Table) -> Self {
        let snapshot = Snapshot { table, version: -1, files: Arc::default(), txns: HashMap::new() };
        Self { snapshot: Arc::new(snapshot), removed: HashMap::new(), files: BTreeMap::new() }
    }

    /// What a checkpoint says.
    pub(super) fn at(
        table: Table,
        version: i64,
        files: Vec<DataFile>,
        txns: HashMap<String, i64>,
        removed: HashMap<String, i64>,
    ) -> Self {
        let files = files.into_iter().map(|file| (file.path.clone(), file)).collect();
        let mut state = Self { files, removed, ..Self::empty(table) };
        state.publish(version, txns);
        state
    }

    /// Moves on to `version`.
    pub(super) fn apply(&mut self, version: i64, actions: Vec<Action>) {
        self.apply_all([(version, actions)]);
    }

    /// The same for many versions in their order, at the cost of one.
    pub(super) fn apply_all(&mut self, versions: impl IntoIterator<Item = (i64, Vec<Action>)>) {
        let mut txns = self.snapshot.txns.clone();
        let mut last = self.snapshot.version;
        for (version, actions) in versions {
            last = version;
            for action in actions {
                self.apply_one(version, action, &mut txns);
            }
        }
        self.publish(last, txns);
    }

    fn apply_one(&mut self, version: i64, action: Action, txns: &mut HashMap<String, i64>) {
        match action {
            Action::Add(add) => {
                if let Some(mut file) = action::file_of(add) {
                    // Somebody else's file: all of it is as new as its commit.
                    file.since.get_or_insert(version);
                    self.removed.remove(&file.path);
                    self.files.insert(file.path.clone(), file);
                }
            }
            Action::Remove(remove) => {
                self.files.remove(&remove.path);
                self.removed.insert(remove.path, remove.deletion_timestamp.unwrap_or_default());
            }
            Action::Txn(txn) => {
                txns.insert(txn.app_id, txn.version);
            }
            _ => {}
        }
    }

    fn publish(&mut self, version: i64, txns: HashMap<String, i64>) {
        let files = Arc::new(self.files.values().cloned().collect());
        self.snapshot = Arc::new(Snapshot { table: self.snapshot.table, version, files, txns });
    }

    /// Whether the log has this position of this writer already.
    pub(super) fn holds(&self, change: &Change) -> bool {
        let txn = change.txn.as_ref();
        txn.is_some_and(|(app_id, position)| self.snapshot.txn(app_id) >= *position)
    }

    /// Whether all of `files` are live.
    pub(super) fn has_all(&self, files: &[DataFile]) -> bool {
        files.iter().all(|file| self.files.contains_key(&file.path))
    }
}
