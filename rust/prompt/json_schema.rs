//! Whether a JSON value is a JSON schema of draft 7: the rules of the draft's schema of schemas.
//!
//! What a schema means is not looked at, and neither are references to other schemas. The depth of a schema is that of a
//! [`Json`], which is limited.

use crate::json::{self, Json};

/// Checks a schema. `is_regex` says whether a string is a regular expression: their dialects differ.
///
/// # Errors
/// A rule that is broken, and where.
pub(super) fn check(schema: &Json, is_regex: &mut dyn FnMut(&str) -> bool) -> Result<(), String> {
    Checker { path: String::new(), is_regex }.schema(schema)
}

struct Checker<'a> {
    /// Where the value that is checked is, as a JSON pointer.
    path: String,
    is_regex: &'a mut dyn FnMut(&str) -> bool,
}

type Checked = Result<(), String>;

impl Checker<'_> {
    fn schema(&mut self, schema: &Json) -> Checked {
        match schema {
            Json::Bool(_) => Ok(()),
            Json::Object(fields) => {
                // Where a key comes twice, which only a program's own objects can have, all have to be good.
                fields.iter().try_for_each(|(key, value)| self.at(key, |checker| checker.keyword(key, value)))
            }
            _ => self.broken(schema, "an object or a boolean"),
        }
    }

    fn keyword(&mut self, keyword: &str, value: &Json) -> Checked {
        match keyword {
            "$id" | "$schema" | "$ref" | "$comment" | "title" | "description" | "format"
            | "contentMediaType" | "contentEncoding" => self.string(value),
            "readOnly" | "uniqueItems" => match value {
                Json::Bool(_) => Ok(()),
                _ => self.broken(value, "a boolean"),
            },
            "examples" | "enum" => self.list(value).map(|_| ()),
            "multipleOf" => match value {
                Json::Int(digits) if digits != "0" && !digits.starts_with('-') => Ok(()),
                // Not a number is not at most zero, either.
                Json::Float(number) if number.is_nan() || *number > 0.0 => Ok(()),
                _ => self.broken(value, "a number above 0"),
            },
            "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum" => match value {
                Json::Int(_) | Json::Float(_) => Ok(()),
                _ => self.broken(value, "a number"),
            },
            "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties" => {
                match value {
                    Json::Int(digits) if !digits.starts_with('-') => Ok(()),
                    Json::Float(number) if *number >= 0.0 && number.fract() == 0.0 => Ok(()),
                    _ => self.broken(value, "an integer of 0 or more"),
                }
            }
            "pattern" => {
                self.string(value)?;
                if let Json::String(pattern) = value { self.regex(pattern) } else { Ok(()) }
            }
            "additionalItems"
            | "contains"
            | "additionalProperties"
            | "propertyNames"
            | "if"
            | "then"
            | "else"
            | "not" => self.schema(value),
            "items" => match value {
                Json::List(_) => self.schemas(value),
                _ => self.schema(value),
            },
            "allOf" | "anyOf" | "oneOf" => self.schemas(value),
            "required" => self.strings(value),
            "definitions" | "properties" => self.fields(value, Checker::schema),
            "patternProperties" => {
                if let Json::Object(fields) = value {
                    fields.iter().try_for_each(|(pattern, _)| self.regex(pattern))?;
                }
                self.fields(value, Checker::schema)
            }
            "dependencies" => self.fields(value, |checker, value| match value {
                Json::List(_) => checker.strings(value),
                _ => checker.schema(value),
            }),
            "type" => self.type_names(value),
            _ => Ok(()),
        }
    }

    fn type_names(&mut self, value: &Json) -> Checked {
        let is_type = |value: &Json| {
            let Json::String(name) = value else { return false };
            matches!(name.as_str(), "array" | "boolean" | "integer" | "null" | "number" | "object" | "string")
        };
        match value {
            Json::List(names) if !names.is_empty() && names.iter().all(is_type) => self.unique(names),
            value if is_type(value) => Ok(()),
            _ => self.broken(value, "the name of a type or a list of such names"),
        }
    }

    fn schemas(&mut self, value: &Json) -> Checked {
        let schemas = self.list(value)?;
        if schemas.is_empty() {
            return self.broken(value, "a list of at least one schema");
        }
        for (index, schema) in schemas.iter().enumerate() {
            self.at(&index.to_string(), |checker| checker.schema(schema))?;
        }
        Ok(())
    }

    fn strings(&mut self, value: &Json) -> Checked {
        let strings = self.list(value)?;
        strings.iter().try_for_each(|string| self.string(string))?;
        self.unique(strings)
    }

    fn fields(&mut self, value: &Json, check: impl Fn(&mut Self, &Json) -> Checked) -> Checked {
        let Json::Object(fields) = value else { return self.broken(value, "an object") };
        fields.iter().try_for_each(|(key, value)| self.at(key, |checker| check(checker, value)))
    }

    fn list<'v>(&self, value: &'v Json) -> Result<&'v [Json], String> {
        match value {
            Json::List(values) => Ok(values),
            _ => self.broken(value, "a list").map(|()| [].as_slice()),
        }
    }

    fn string(&self, value: &Json) -> Checked {
        if matches!(value, Json::String(_)) { Ok(()) } else { self.broken(value, "a string") }
    }

    fn unique(&self, values: &[Json]) -> Checked {
        let mut strings: Vec<&str> = Vec::with_capacity(values.len());
        strings.extend(values.iter().filter_map(|value| match value {
            Json::String(string) => Some(string.as_str()),
            _ => None,
        }));
        strings.sort_unstable();
        match strings.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("{}: {:?} comes twice", self.place(), pair[0])),
            None => Ok(()),
        }
    }

    fn regex(&mut self, pattern: &str) -> Checked {
        if (self.is_regex)(pattern) {
            return Ok(());
        }
        Err(format!("{}: {pattern:?} is not a regular expression", self.place()))
    }

    fn at(&mut self, key: &str, check: impl FnOnce(&mut Self) -> Checked) -> Checked {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(key);
        let checked = check(self);
        self.path.truncate(length);
        checked
    }

    fn place(&self) -> &str {
        if self.path.is_empty() { "the schema" } else { &self.path }
    }

    fn broken(&self, value: &Json, expected: &str) -> Checked {
        let mut found = String::new();
        match value {
            Json::List(_) => found.push_str("a list"),
            Json::Object(_) => found.push_str("an object"),
            _ => json::write(value, &mut found),
        }
        Err(format!("{} must be {expected}, found {found}", self.place()))
    }
}
