//! Outliers of a group: one of several hosts that does something else than the others.
//!
//! At each time the values of all members are clustered by density (DBSCAN, Ester et al. 1996; in one
//! dimension a cluster is a run of neighbours): the majority that lies close together is what is
//! usual, the rest is outside. How close is close follows from the group itself: from how far its
//! members are apart in the middle, and from how far each wanders from one time to the next. So the
//! answer does not depend on offset and scale.
//!
//! `augurs` has the same method behind its feature `outlier`; that brings a library of distributions
//! with it, for what are twenty lines here.

/// Fewest members: of two nobody can say which one is odd.
pub const MEMBERS_MIN: usize = 4;

/// Members of a group that are compared at most.
pub const MEMBERS_MAX: usize = 10_000;

/// Neighbours are no further apart than so many times the spread.
const APART: f64 = 5.0;

/// The spread of a normal distribution in its median absolute deviation.
const MAD: f64 = 1.4826;

/// What is said of a group: for each member whether it is outside at each time, and for each time
/// what is usual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// By member, then by time.
    pub outside: Vec<Vec<bool>>,
    /// Least and most that is usual; `None` where no majority lies close together.
    pub usual: Vec<Option<(f64, f64)>>,
}

/// Looks at members with one value for each of the same times; what is not finite is missing.
///
/// `None` when there are fewer than [`MEMBERS_MIN`] or more than [`MEMBERS_MAX`] members, or their
/// lengths differ.
pub fn of(members: &[&[f64]]) -> Option<Group> {
    let n_times = members.first()?.len();
    let fits = (MEMBERS_MIN..=MEMBERS_MAX).contains(&members.len());
    if !fits || n_times == 0 || members.iter().any(|it| it.len() != n_times) {
        return None;
    }
    let origin = median(members.iter().filter_map(|it| it.iter().find(|it| it.is_finite())))?;
    let clean = |values: &&[f64]| -> Vec<f64> {
        let clean = |it: &f64| if it.is_finite() { it - origin } else { f64::NAN };
        values.iter().map(clean).collect()
    };
    let clean: Vec<_> = members.iter().map(clean).collect();
    let apart = APART * spread(&clean, n_times);
    let mut outside = vec![vec![false; n_times]; members.len()];
    let mut usual = Vec::with_capacity(n_times);
    for time in 0..n_times {
        let band = majority(clean.iter().map(|it| it[time]), apart);
        usual.push(band.map(|(least, most)| (least + origin, most + origin)));
        // Without a majority nobody is odd.
        let Some((least, most)) = band else { continue };
        for (outside, values) in outside.iter_mut().zip(&clean) {
            outside[time] = values[time] < least || values[time] > most;
        }
    }
    Some(Group { outside, usual })
}

/// Least and most of the run of neighbours, no further than `apart` from each other, that holds more
/// than half of the finite `values`. Such a run spans the middle one.
fn majority(values: impl Iterator<Item = f64>, apart: f64) -> Option<(f64, f64)> {
    let mut sorted: Vec<_> = values.filter(|it| it.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    sorted.get(middle)?;
    let far = |pair: &[f64]| pair[1] - pair[0] > apart;
    let first = sorted[..=middle].windows(2).rposition(far).map_or(0, |at| at + 1);
    let last = sorted[middle..].windows(2).position(far).map_or(sorted.len() - 1, |at| middle + at);
    let is_most = sorted.len() >= MEMBERS_MIN && 2 * (last - first + 1) > sorted.len();
    is_most.then(|| (sorted[first], sorted[last]))
}

/// How far members are apart, and each from its own value before; in the middle of all.
fn spread(members: &[Vec<f64>], n_times: usize) -> f64 {
    let across = (0..n_times).filter_map(|time| {
        let here = || members.iter().map(|it| &it[time]).filter(|it| it.is_finite());
        let middle = median(here())?;
        let away: Vec<_> = here().map(|it| (it - middle).abs()).collect();
        median(away.iter())
    });
    let across: Vec<_> = across.collect();
    let along = members.iter().filter_map(|member| {
        let steps: Vec<_> = member.windows(2).map(|it| (it[1] - it[0]).abs()).collect();
        median(steps.iter().filter(|it| it.is_finite()))
    });
    let along: Vec<_> = along.collect();
    MAD * median(across.iter()).unwrap_or(0.0).max(median(along.iter()).unwrap_or(0.0))
}

fn median<'a>(values: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let mut sorted: Vec<_> = values.copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: usize = 48;

    /// Six hosts that do about the same, of which the third is `off` in the second half.
    fn group(off: f64, offset: f64, scale: f64) -> Option<Group> {
        let value = |host: usize, time: usize| {
            let noise = ((host * 31 + time * 17) as f64 * 12.9898).sin();
            let wave = 5.0 * (time as f64 / 8.0).sin();
            let odd = if host == 2 && time >= TIMES / 2 { off } else { 0.0 };
            (wave + noise + odd) * scale + offset
        };
        let members: Vec<Vec<f64>> =
            (0..6).map(|host| (0..TIMES).map(|time| value(host, time)).collect()).collect();
        of(&members.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn the_host_that_does_something_else_is_outside_while_it_does() {
        let found = group(40.0, 0.0, 1.0).unwrap();
        for (host, outside) in found.outside.iter().enumerate() {
            let n = outside.iter().filter(|it| **it).count();
            assert_eq!(n, if host == 2 { TIMES / 2 } else { 0 }, "host {host}");
        }
        let (least, most) = found.usual[TIMES - 1].unwrap();
        assert!(least < most && most < 10.0, "{least} {most}");
    }

    #[test]
    fn a_group_of_equals_has_no_outlier() {
        assert!(group(0.0, 0.0, 1.0).unwrap().outside.iter().flatten().all(|it| !it));
        let same = [3.0; TIMES];
        assert!(of(&[&same[..]; 5]).unwrap().outside.iter().flatten().all(|it| !it));
    }

    #[test]
    fn offset_and_scale_do_not_matter() {
        let plain = group(40.0, 0.0, 1.0).unwrap().outside;
        for (offset, scale) in [(1e6, 1.0), (0.0, 1e-6), (0.0, 1e12), (-5e3, 7.0)] {
            assert_eq!(group(40.0, offset, scale).unwrap().outside, plain, "{offset} {scale}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[&[1.0], &[1.0], &[9.0]]), None, "three are too few");
        assert_eq!(of(&[&[1.0], &[1.0], &[1.0], &[]]), None);
        let found = of(&[&[f64::NAN, 1.0], &[f64::NAN, 1.0], &[1.0, 1.0], &[2.0, f64::INFINITY]]);
        assert!(found.unwrap().outside.iter().flatten().all(|it| !it));
        assert_eq!(of(&[&[f64::NAN][..]; 4]), None);
    }
}
