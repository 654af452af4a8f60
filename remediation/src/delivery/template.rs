//! Texts with gaps: `{{field}}` or `{{outer.inner}}` is the value of that field of the payload.

use std::fmt::Write;

use serde_json::Value;

/// A text with gaps, read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Field(Vec<String>),
}

impl Template {
    /// Reads a text; says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (vec![], text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (path, after) = after.split_once("}}").ok_or_else(|| {
                let at = text.len() - after.len() - 2;
                format!("the `{{{{` at byte {at} is not closed by `}}}}`")
            })?;
            let path = path.trim();
            let is_name = |part: &str| {
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$');
                !part.is_empty() && part.chars().all(plain)
            };
            let parts: Vec<_> = path.split('.').map(str::to_owned).collect();
            if !parts.iter().all(|part| is_name(part)) {
                return Err(format!(
                    "`{{{{{path}}}}}` names no field; expected one like `{{{{a.b}}}}`"
                ));
            }
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Field(parts));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// Fills the gaps; a field that is not there leaves its gap empty.
    pub fn render(&self, payload: &Value) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(path) => {
                    let step = |value: &'_ Value, part: &String| match value {
                        Value::Array(list) => list.get(part.parse::<usize>().ok()?).cloned(),
                        other => other.get(part).cloned(),
                    };
                    let found = path.iter().try_fold(payload.clone(), |value, it| step(&value, it));
                    match found {
                        None | Some(Value::Null) => (),
                        Some(Value::String(found)) => text.push_str(&found),
                        Some(found) => write!(text, "{found}").expect("a string takes any text"),
                    }
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let payload = serde_json::json!({"title": "Disk", "at": {"host": "a"}, "n": 5, "l": ["x"]});
        assert_eq!(Template::parse(template).unwrap().render(&payload), expected);
    }

    #[test]
    fn gaps_are_filled_from_the_payload() {
        check("plain", "plain");
        check("{{title}} on {{ at.host }}: {{n}}!", "Disk on a: 5!");
        check("{{at}} {{l.0}} {{missing}}.", "{\"host\":\"a\"} x .");
        check("}} { }", "}} { }");
    }

    #[test]
    fn a_text_that_cannot_work_is_refused() {
        for text in ["{{", "{{a", "{{}}", "{{a b}}", "{{a..b}}", "{{ {{a}}"] {
            Template::parse(text).unwrap_err();
        }
    }
}
