//! What one line of a record says.

use serde_json::{Map, Value};

use crate::report::OURS;

/// An object that a suite printed.
#[derive(Clone, Debug)]
pub(crate) struct Line(pub(crate) Map<String, Value>);

impl Line {
    /// The number under this name; NaN if there is none, which no plot and no table shows.
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.0.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// The text under this name, or the number as text; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(value) => value.to_string(),
        }
    }

    /// The integer under this name; 0 if there is none.
    pub(crate) fn count(&self, name: &str) -> usize {
        let value = self.0.get(name).and_then(Value::as_u64);
        value.and_then(|value| value.try_into().ok()).unwrap_or(0)
    }

    /// Whether the text under this name is this one.
    pub(crate) fn is(&self, name: &str, text: &str) -> bool {
        self.0.get(name).and_then(Value::as_str) == Some(text)
    }

    /// Whether it is of this suite, and of this project.
    pub(crate) fn is_ours(&self, suite: &str) -> bool {
        self.is("suite", suite) && (!self.0.contains_key("impl") || self.is("impl", OURS))
    }

    /// The objects in the array under this name.
    pub(crate) fn objects(&self, name: &str) -> Vec<Self> {
        let array = self.0.get(name).and_then(Value::as_array);
        let objects = array.into_iter().flatten().filter_map(Value::as_object);
        objects.cloned().map(Self).collect()
    }

    /// The widths of the layers of a network; empty if it is none.
    pub(crate) fn layers(&self) -> Vec<usize> {
        let text = self.text("layers");
        text.split(',').filter_map(|w| w.parse().ok()).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line of this JSON.
    pub(crate) fn line(json: &str) -> Line {
        Line(serde_json::from_str(json).expect("an object"))
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let line = line(r#"{"suite":"train","layers":"7,5","ns":2.5,"n":3,"none":null}"#);
        assert_eq!(line.number("ns"), 2.5);
        assert!(line.number("none").is_nan() && line.number("layers").is_nan());
        assert_eq!(
            (line.text("n").as_str(), line.text("none").as_str()),
            ("3", "")
        );
        assert_eq!((line.count("n"), line.count("ns")), (3, 0));
        assert_eq!(line.layers(), [7, 5]);
        assert!(line.is_ours("train") && !line.is_ours("infer"));
        assert!(line.objects("points").is_empty());
    }
}
