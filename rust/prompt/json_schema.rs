//! Whether a JSON value is a JSON schema of draft 7: the rules of the draft's schema of schemas.
//!
//! What a schema means is not looked at, and neither are references to other schemas.

use crate::json::{self, Json};

/// Checks a schema. `is_regex` says whether a string is a regular expression: their dialects differ.
///
/// # Errors
/// A rule that is broken, and where.
pub(super) fn check(schema: &Json, is_regex: &mut dyn FnMut(&str) -> bool) -> Result<(), String> {
    let mut checker = Checker { schemas: vec![Schema { value: schema, within: None }], is_regex };
    let mut next = 0;
    while next < checker.schemas.len() {
        checker.schema(next)?;
        next += 1;
    }
    Ok(())
}

/// Walks over the schemas within a schema with a list in place of recursion: the stack may be small.
struct Checker<'v, 'r> {
    schemas: Vec<Schema<'v>>,
    is_regex: &'r mut dyn FnMut(&str) -> bool,
}

#[derive(Clone, Copy)]
struct Schema<'v> {
    value: &'v Json,
    within: Option<Place<'v>>,
}

/// Where a value is.
#[derive(Clone, Copy)]
struct Place<'v> {
    /// Number of the schema around it.
    schema: usize,
    keyword: &'v str,
    key: Key<'v>,
}

#[derive(Clone, Copy)]
enum Key<'v> {
    /// The value of the keyword itself.
    Whole,
    Name(&'v str),
    Index(usize),
}

type Checked = Result<(), String>;

impl<'v> Checker<'v, '_> {
    fn schema(&mut self, number: usize) -> Checked {
        let Schema { value, within } = self.schemas[number];
        match value {
            Json::Bool(_) => Ok(()),
            // Where a key comes twice, which only a program's own objects can have, all have to be good.
            Json::Object(fields) => fields.iter().try_for_each(|(keyword, value)| {
                self.keyword(Place { schema: number, keyword, key: Key::Whole }, value)
            }),
            _ => Err(broken(&self.path(within), value, "an object or a boolean")),
        }
    }

    fn keyword(&mut self, place: Place<'v>, value: &'v Json) -> Checked {
        match place.keyword {
            "$id" | "$schema" | "$ref" | "$comment" | "title" | "description" | "format"
            | "contentMediaType" | "contentEncoding" => {
                self.expect(place, value, matches!(value, Json::String(_)), "a string")
            }
            "readOnly" | "uniqueItems" => {
                self.expect(place, value, matches!(value, Json::Bool(_)), "a boolean")
            }
            "examples" | "enum" => self.expect(place, value, matches!(value, Json::List(_)), "a list"),
            "multipleOf" => self.expect(place, value, is_above_zero(value), "a number above 0"),
            "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum" => {
                self.expect(place, value, matches!(value, Json::Int(_) | Json::Float(_)), "a number")
            }
            "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties" => {
                self.expect(place, value, is_natural(value), "an integer of 0 or more")
            }
            "pattern" => match value {
                Json::String(pattern) => self.regex(place, pattern),
                _ => self.expect(place, value, false, "a string"),
            },
            "additionalItems"
            | "contains"
            | "additionalProperties"
            | "propertyNames"
            | "if"
            | "then"
            | "else"
            | "not" => {
                self.within(place, value);
                Ok(())
            }
            "items" if !matches!(value, Json::List(_)) => {
                self.within(place, value);
                Ok(())
            }
            "items" | "allOf" | "anyOf" | "oneOf" => self.list_of_schemas(place, value),
            "required" => self.strings(place, value),
            "definitions" | "properties" | "patternProperties" | "dependencies" => self.fields(place, value),
            "type" => self.type_names(place, value),
            _ => Ok(()),
        }
    }

    fn type_names(&self, place: Place<'v>, value: &Json) -> Checked {
        match value {
            Json::List(names) if !names.is_empty() && names.iter().all(is_type_name) => {
                self.unique(place, names)
            }
            _ => self.expect(place, value, is_type_name(value), "the name of a type or a list of such names"),
        }
    }

    fn list_of_schemas(&mut self, place: Place<'v>, value: &'v Json) -> Checked {
        match value {
            Json::List(schemas) if !schemas.is_empty() => {
                for (index, schema) in schemas.iter().enumerate() {
                    self.within(Place { key: Key::Index(index), ..place }, schema);
                }
                Ok(())
            }
            _ => self.expect(place, value, false, "a list of at least one schema"),
        }
    }

    /// Fields whose values are schemas, or lists of names in one case.
    fn fields(&mut self, place: Place<'v>, value: &'v Json) -> Checked {
        let Json::Object(fields) = value else { return self.expect(place, value, false, "an object") };
        for (name, value) in fields {
            let inner = Place { key: Key::Name(name), ..place };
            if place.keyword == "patternProperties" {
                self.regex(place, name)?;
            }
            if place.keyword == "dependencies" && matches!(value, Json::List(_)) {
                self.strings(inner, value)?;
            } else {
                self.within(inner, value);
            }
        }
        Ok(())
    }

    fn strings(&self, place: Place<'v>, value: &Json) -> Checked {
        match value {
            Json::List(strings) if strings.iter().all(|value| matches!(value, Json::String(_))) => {
                self.unique(place, strings)
            }
            _ => self.expect(place, value, false, "a list of strings"),
        }
    }

    fn unique(&self, place: Place<'v>, values: &[Json]) -> Checked {
        let strings = values.iter().filter_map(|value| match value {
            Json::String(string) => Some(string.as_str()),
            _ => None,
        });
        let mut strings: Vec<&str> = strings.collect();
        strings.sort_unstable();
        match strings.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("{}: {:?} comes twice", self.path(Some(place)), pair[0])),
            None => Ok(()),
        }
    }

    fn regex(&mut self, place: Place<'v>, pattern: &str) -> Checked {
        if (self.is_regex)(pattern) {
            return Ok(());
        }
        Err(format!("{}: {pattern:?} is not a regular expression", self.path(Some(place))))
    }

    /// Leaves a schema for later.
    fn within(&mut self, place: Place<'v>, value: &'v Json) {
        self.schemas.push(Schema { value, within: Some(place) });
    }

    fn expect(&self, place: Place<'v>, value: &Json, is_good: bool, expected: &str) -> Checked {
        if is_good { Ok(()) } else { Err(broken(&self.path(Some(place)), value, expected)) }
    }

    fn path(&self, place: Option<Place<'v>>) -> String {
        let mut steps = Vec::new();
        let mut place = place;
        while let Some(Place { schema, keyword, key }) = place {
            steps.push(match key {
                Key::Whole => format!("/{keyword}"),
                Key::Name(name) => format!("/{keyword}/{name}"),
                Key::Index(index) => format!("/{keyword}/{index}"),
            });
            place = self.schemas[schema].within;
        }
        steps.reverse();
        if steps.is_empty() { "the schema".to_owned() } else { steps.concat() }
    }
}

fn is_type_name(value: &Json) -> bool {
    let names = ["array", "boolean", "integer", "null", "number", "object", "string"];
    matches!(value, Json::String(name) if names.contains(&name.as_str()))
}

fn is_above_zero(value: &Json) -> bool {
    match value {
        Json::Int(digits) => digits != "0" && !digits.starts_with('-'),
        // Not a number is not at most zero, either.
        Json::Float(number) => number.is_nan() || *number > 0.0,
        _ => false,
    }
}

fn is_natural(value: &Json) -> bool {
    match value {
        Json::Int(digits) => !digits.starts_with('-'),
        Json::Float(number) => *number >= 0.0 && number.fract() == 0.0,
        _ => false,
    }
}

fn broken(path: &str, value: &Json, expected: &str) -> String {
    let mut found = String::new();
    match value {
        Json::List(_) => found.push_str("a list"),
        Json::Object(_) => found.push_str("an object"),
        _ => json::write(value, &mut found),
    }
    format!("{path} must be {expected}, found {found}")
}
