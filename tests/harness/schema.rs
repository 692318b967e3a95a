//! Is a JSON value what a schema in docs/schemas says? As much of JSON Schema as those use; any other word of it fails the test.
//! Names that a schema does not have are refused, though it allows them to programs that read an object of a later release.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

/// Fails unless `value` is what docs/schemas/`name`.json says.
#[track_caller]
pub fn keeps_to(name: &str, value: &Value) {
    let file = format!("{name}.json");
    let mut faults = Vec::new();
    check(&file, &read(&file), value, "", &mut faults);
    assert!(faults.is_empty(), "not as docs/schemas/{file} says:\n  {}\n{value:#}", faults.join("\n  "));
}

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(file);
    serde_json::from_str(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

fn check(file: &str, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let schema = schema.as_object().unwrap();
    let mut fault = |what: String| faults.push(format!("{place}: {what}"));
    let mut below = Vec::new();
    for (word, wanted) in schema {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let (other, pointer) = wanted.as_str().unwrap().split_once('#').unwrap();
                let other = if other.is_empty() { file } else { other };
                let definition = read(other).pointer(pointer).unwrap_or_else(|| panic!("no {wanted}")).clone();
                check(other, &definition, value, place, &mut below);
            }
            "const" if value == wanted => {}
            "enum" if wanted.as_array().unwrap().contains(value) => {}
            "const" | "enum" => fault(format!("{value} instead of {wanted}")),
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !kinds.iter().any(|kind| is_a(value, kind.as_str().unwrap())) {
                    fault(format!("{value} is no {wanted}"));
                }
            }
            "minimum" => {
                if value.as_i64().is_some_and(|number| number < wanted.as_i64().unwrap()) {
                    fault(format!("{value} is less than {wanted}"));
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        fault(format!("{name} is missing"));
                    }
                }
            }
            "properties" => {
                let (wanted, empty) = (wanted.as_object().unwrap(), Map::new());
                for (name, one) in value.as_object().unwrap_or(&empty) {
                    match wanted.get(name) {
                        Some(schema) => check(file, schema, one, &format!("{place}/{name}"), &mut below),
                        // The alternatives of `oneOf` say what they add, not what there is.
                        None if schema.contains_key("type") => fault(format!("`{name}` is not documented")),
                        None => {}
                    }
                }
            }
            "items" => {
                for (number, one) in value.as_array().into_iter().flatten().enumerate() {
                    check(file, wanted, one, &format!("{place}/{number}"), &mut below);
                }
            }
            "oneOf" => {
                let tried = wanted.as_array().unwrap().iter().map(|one| {
                    let mut faults = Vec::new();
                    check(file, one, value, place, &mut faults);
                    faults
                });
                let tried: Vec<_> = tried.collect();
                let fits = tried.iter().filter(|faults| faults.is_empty()).count();
                if fits != 1 {
                    fault(format!("{fits} of the alternatives fit: {tried:?}"));
                }
            }
            other => panic!("the schema {file} has the word {other}, which this test does not know"),
        }
    }
    faults.append(&mut below);
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::keeps_to;

    #[test]
    fn what_a_schema_does_not_say_is_refused() {
        let good = json!({ "version": 1, "command": "stop", "ok": true, "code": 0, "what": "stopped", "took_ms": 3,
            "processes": 0, "applications": [] });
        keeps_to("stop", &good);
        let changes = [
            ("version", json!(2)),
            ("ok", json!(false)),
            ("code", json!(3)),
            ("took_ms", json!(-1)),
            ("took_ms", json!("3")),
            ("applications", json!([{}])),
            ("more", json!(1)),
        ];
        for (name, value) in changes {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(catch_unwind(|| keeps_to("stop", &bad)).is_err(), "{bad}");
        }
        let mut less = good;
        less.as_object_mut().unwrap().remove("processes");
        assert!(catch_unwind(|| keeps_to("stop", &less)).is_err());
    }
}
