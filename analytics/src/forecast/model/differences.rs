//! Regression on the differences from a day or a week before.

use super::{
    Member, Origin, Past,
    autoregression::{Form, Variant, members, range},
};

/// The differences' forecasts on top of what was `gap` steps before.
pub(crate) fn predict(
    name: &str,
    gap: usize,
    form: &Form,
    past: &Past<'_>,
    origins: &[Origin],
    variants: &[Variant],
) -> Vec<Member> {
    let values = past.values;
    if gap == 0 || origins.iter().any(|origin| origin.cut <= gap) {
        return vec![];
    }
    let changes: Vec<f64> =
        values[gap..].iter().zip(values).map(|(now, then)| now - then).collect();
    let moved: Vec<Origin> =
        origins.iter().map(|origin| Origin { cut: origin.cut - gap, ..*origin }).collect();
    let mut found = members(name, form, &Past { values: &changes, ..*past }, &moved, variants);
    for member in &mut found {
        for (course, origin) in member.forecasts.iter_mut().zip(origins) {
            if let Some(course) = course {
                sum_up(course, &values[..origin.cut], gap);
            }
        }
    }
    found
}

/// Turns changes into values, within the range of the past.
fn sum_up(course: &mut [f64], past: &[f64], gap: usize) {
    let (low, high) = range(past);
    for step in 0..course.len() {
        let before = match step.checked_sub(gap) {
            Some(before) => course[before],
            None => past[past.len() + step - gap],
        };
        course[step] = (course[step] + before).clamp(low, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_summed_up() {
        let mut course = [1.0, 1.0, 1.0];
        sum_up(&mut course, &[0.0, 10.0, 20.0], 2);
        assert_eq!(course, [11.0, 21.0, 12.0]);
    }

    #[test]
    fn a_growing_day_grows_on() {
        let value = |t: usize| (t % 24) as f64 + (t / 24) as f64;
        let values: Vec<f64> = (0..240).map(value).collect();
        let past = Past { values: &values, hour: 1, day: Some(24), week: None };
        let origins = [Origin { cut: 240, n_steps: 24 }];
        let variants = [Variant { penalty: 1e-4, half_life: None }];
        let found = predict("", 24, &Form::plain(Some(24)), &past, &origins, &variants);
        for (step, course) in found[0].forecasts[0].as_ref().unwrap().iter().enumerate() {
            assert!((course - value(240 + step)).abs() < 0.2, "{step}: {course}");
        }
    }
}
