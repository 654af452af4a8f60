//! What a trouble may have to do with: what a component depends on, and what a look at it is decided from.

use std::collections::{BTreeMap, BTreeSet};

use data::ledger::Concern;

use crate::{kind::Kind, symptom::Observation};

/// How deep dependencies are followed.
const DEPTH_MAX: usize = 8;

/// Everything that a component depends on, directly or not, the nearest first.
pub fn dependencies(depends_on: &BTreeMap<String, Vec<String>>, component: &str) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    let mut layer = vec![component.to_owned()];
    for _ in 0..DEPTH_MAX {
        let below = layer.iter().filter_map(|name| depends_on.get(name)).flatten();
        let new: Vec<String> =
            below.filter(|name| *name != component && !all.contains(name)).cloned().collect();
        if new.is_empty() {
            break;
        }
        all.extend(new.iter().cloned());
        layer = new;
    }
    all
}

/// What a decision about these observations is made from.
///
/// Their symptoms, the incidents that those are a part of or could become one of, and the incidents of everything
/// that others depend on or that depends on others.
pub fn concern(seen: &[Observation], depends_on: &BTreeMap<String, Vec<String>>) -> Concern {
    let keys: BTreeSet<String> = seen.iter().map(|it| it.kind.dedupe_key(&it.component)).collect();
    let related = depends_on.iter().filter(|(_, below)| !below.is_empty());
    let related: BTreeSet<&String> =
        related.flat_map(|(name, below)| std::iter::once(name).chain(below)).collect();
    Concern {
        symptoms: seen.iter().map(Observation::symptom_id).collect(),
        keys: keys.into_iter().collect(),
        whole: related.into_iter().map(|it| Kind::ServiceDown.dedupe_key(it)).collect(),
    }
}
