//! Prometheus' text format 0.0.4 and `OpenMetrics` 1.0, line by line.
//!
//! The two differ in the unit of timestamps (milliseconds against seconds) and in `# EOF` and
//! exemplars, which only `OpenMetrics` has. Comments say nothing that a sample needs.

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// In the order of the line.
    pub labels: Vec<(String, String)>,
    /// May be infinite or NaN.
    pub value: f64,
    /// In microseconds since the epoch, when the line says.
    pub ts: Option<i64>,
}

/// What was understood, and what was not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// All readable samples.
    pub samples: Vec<Sample>,
    /// Number of the line, from 1, and why it cannot be read.
    pub refused: Vec<(usize, String)>,
}

/// Reads `text`; a bad line does not spoil the others.
pub fn parse(text: &str, is_open_metrics: bool) -> Parsed {
    let mut parsed = Parsed::default();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if is_open_metrics && line == "# EOF" {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match sample(line, is_open_metrics) {
            Ok(sample) => parsed.samples.push(sample),
            Err(reason) => parsed.refused.push((n + 1, reason)),
        }
    }
    parsed
}

fn sample(line: &str, is_open_metrics: bool) -> Result<Sample, String> {
    let end = line.find(|c: char| !is_name(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let (mut name, mut rest) = (name.to_owned(), rest.trim_start());
    let mut labels = vec![];
    if let Some(inner) = rest.strip_prefix('{') {
        rest = parse_labels(inner, &mut name, &mut labels)?;
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("the line does not start with the name of a metric".to_owned());
    }
    // An exemplar follows after ` # ` and is about single events.
    let rest = if is_open_metrics { rest.split(" # ").next().unwrap_or(rest) } else { rest };
    let mut parts = rest.split_whitespace();
    let value = number(parts.next().ok_or("there is no value")?)?;
    let ts = parts.next().map(|text| timestamp(text, is_open_metrics)).transpose()?;
    match parts.next() {
        Some(more) => Err(format!("`{more}` follows where the line should end")),
        None => Ok(Sample { name, labels, value, ts }),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// The rest after the closing brace. A quoted part without `=` is the name, as newer senders that
/// allow any name write it.
fn parse_labels<'a>(
    mut rest: &'a str,
    name: &mut String,
    labels: &mut Vec<(String, String)>,
) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (key, after) = match rest.strip_prefix('"') {
            Some(inner) => quoted(inner)?,
            None => {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let value = value.trim_start().strip_prefix('"');
            let value = value.ok_or_else(|| format!("the value of `{key}` is not quoted"))?;
            let (value, after) = quoted(value)?;
            if key.is_empty() {
                return Err("a label has no name".to_owned());
            }
            labels.push((key, value));
            rest = after.trim_start();
        } else if rest.starts_with('"') && name.is_empty() {
            *name = key;
            rest = after;
        } else {
            return Err(format!("`=` is missing after the label `{key}`"));
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("the labels are not closed by `}`".to_owned()),
        }
    }
}

/// Up to the closing quote; the opening one is gone. `\\`, `\"` and `\n` are escapes.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

/// Rust's own reader knows `inf`, `+Inf`, `NaN` and the rest, in any case.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn timestamp(text: &str, is_open_metrics: bool) -> Result<i64, String> {
    let bad = || format!("`{text}` is not a time");
    if !is_open_metrics {
        let millis = text.parse::<i64>().map_err(|_| bad())?;
        return millis.checked_mul(1_000).ok_or_else(bad);
    }
    let micros = text.parse::<f64>().map_err(|_| bad())? * 1e6;
    // Beyond 2^53 a float no longer holds whole microseconds; that is the year 2255.
    if micros.abs() < (1_i64 << 53) as f64 { Ok(micros.round() as i64) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(line: &str, is_open_metrics: bool) -> String {
        let parsed = parse(line, is_open_metrics);
        let good = parsed.samples.into_iter().map(|s| {
            let ts = s.ts.map_or(String::new(), |ts| format!(" @{ts}"));
            format!("{} {:?} {}{ts}", s.name, s.labels, s.value)
        });
        let bad = parsed.refused.into_iter().map(|(n, reason)| format!("{n}: {reason}"));
        good.chain(bad).collect::<Vec<_>>().join("|")
    }

    #[track_caller]
    fn check(line: &str, shown: &str) {
        assert_eq!(show(line, false), shown, "{line}");
    }

    #[test]
    fn a_line_has_a_name_labels_a_value_and_perhaps_a_time() {
        check("up 1", "up [] 1");
        check("  up\t1  ", "up [] 1");
        check("a:b_c{} 2.5e3 1700000000123", "a:b_c [] 2500 @1700000000123000");
        check("m {a=\"1\", b=\"2\",} 3", r#"m [("a", "1"), ("b", "2")] 3"#);
        check("# HELP up is it up\n# TYPE up gauge\n\nup 0\n", "up [] 0");
        check("{\"my.name\",a=\"b\"} 1", r#"my.name [("a", "b")] 1"#);
    }

    #[test]
    fn escapes_are_undone() {
        check(r#"m{a="x\"y\\z\n",b="}, {"} 1"#, r#"m [("a", "x\"y\\z\n"), ("b", "}, {")] 1"#);
        check(r#"m{a="C:\dir"} 1"#, r#"m [("a", "C:\\dir")] 1"#);
        check("m{a=\"grüße\"} 1", r#"m [("a", "grüße")] 1"#);
    }

    #[test]
    fn infinity_and_nan_are_values() {
        check("m{le=\"+Inf\"} +Inf\nm -Inf\nm NaN", r#"m [("le", "+Inf")] inf|m [] -inf|m [] NaN"#);
    }

    #[test]
    fn a_bad_line_names_itself_and_spares_the_others() {
        check("a 1\nb\nc 3", "a [] 1|c [] 3|2: there is no value");
        check("a one", "1: `one` is not a number");
        check("a 1 soon", "1: `soon` is not a time");
        check("a 1 2 3", "1: `3` follows where the line should end");
        check("a{b} 1", "1: `=` is missing after the label `b`");
        check("a{b=1} 1", "1: the value of `b` is not quoted");
        check("a{b=\"1} 1", "1: a quote is not closed");
        check("a{b=\"1\" c=\"2\"} 1", "1: the labels are not closed by `}`");
        check("{a=\"1\"} 1", "1: the line does not start with the name of a metric");
        check("9a 1", "1: the line does not start with the name of a metric");
        check("a{b=\"1\"", "1: the labels are not closed by `}`");
    }

    #[test]
    fn open_metrics_counts_in_seconds_and_has_exemplars_and_an_end() {
        let text = "a_bucket{le=\"1\"} 8 # {trace_id=\"x\"} 0.67\nb 1 1.5\n# EOF\nc 1\n";
        assert_eq!(show(text, true), r#"a_bucket [("le", "1")] 8|b [] 1 @1500000"#);
    }
}
