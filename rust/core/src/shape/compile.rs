//! From the part of JSON Schema that the field tables use to shapes.
//!
//! Law: a keyword that is not understood is an error with its path; a named schema is compiled once, so that it may contain
//! itself.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Array, Id, Member, Number, Object, Objects, Others, Shape, Strings, listed};

/// The shapes of a schema, its own first.
pub(super) fn compile(schema: &Value) -> Result<Vec<Shape>, String> {
    let mut compiler = Compiler { root: schema, shapes: Vec::new(), named: HashMap::new() };
    compiler.add(schema, "")?;
    Ok(compiler.shapes)
}

/// Keywords that carry no check.
const SILENT: [&str; 2] = ["$defs", "format"];

struct Compiler<'a> {
    root: &'a Value,
    shapes: Vec<Shape>,
    named: HashMap<String, Id>,
}

impl Compiler<'_> {
    /// Adds the shape of `schema`; a named one once, so that it may contain itself.
    fn add(&mut self, schema: &Value, path: &str) -> Result<Id, String> {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            if let Some(id) = self.named.get(name) {
                return Ok(*id);
            }
            let target = name
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer))
                .ok_or_else(|| format!("{path}: '{name}' is nowhere"))?;
            let id = self.reserve();
            self.named.insert(name.to_owned(), id);
            return self.fill(id, target, name);
        }
        let id = self.reserve();
        self.fill(id, schema, path)
    }

    fn reserve(&mut self) -> Id {
        self.shapes.push(Shape::default());
        Id(self.shapes.len() - 1)
    }

    fn fill(&mut self, id: Id, schema: &Value, path: &str) -> Result<Id, String> {
        let mut shape = Shape::default();
        self.merge(&mut shape, schema, path)?;
        shape.words = self.words(&shape).into();
        if let Some(place) = self.shapes.get_mut(id.0) {
            *place = shape;
        }
        Ok(id)
    }

    /// Adds to `shape` what `schema` allows.
    fn merge(&mut self, shape: &mut Shape, schema: &Value, path: &str) -> Result<(), String> {
        let Value::Object(schema) = schema else { return Err(format!("{path}: must be an object")) };
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let target = name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return self.merge(shape, target.ok_or_else(|| format!("{path}: '{name}' is nowhere"))?, name);
        }
        let branches = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)).and_then(Value::as_array);
        if let Some(branches) = branches {
            if let Some(key) = schema.get("discriminator").and_then(|found| found.get("propertyName")) {
                let key = key.as_str().ok_or_else(|| format!("{path}: propertyName must be a string"))?;
                return self.told_apart(shape, key, branches, path);
            }
            for (at, branch) in branches.iter().enumerate() {
                self.merge(shape, branch, &format!("{path}/anyOf/{at}"))?;
            }
            return Ok(());
        }
        for kind in kinds(schema, path)? {
            self.kind(shape, &kind, schema, path)?;
        }
        known(schema, path)
    }

    fn kind(
        &mut self,
        shape: &mut Shape,
        kind: &str,
        schema: &Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        match kind {
            "null" => shape.null = true,
            "boolean" => shape.boolean = true,
            "integer" | "number" => {
                shape.number = Some(Number {
                    whole: kind == "integer",
                    least: schema.get("minimum").and_then(Value::as_f64),
                    most: schema.get("maximum").and_then(Value::as_f64),
                });
            }
            "string" => {
                let values = strings(schema);
                let values = match shape.string.take() {
                    // Beside any string, a list of some says nothing.
                    Some(known) if known.values.is_empty() || values.is_empty() => Vec::new(),
                    Some(mut known) => {
                        known.values.extend(values);
                        known.values
                    }
                    None => values,
                };
                shape.string = Some(Strings {
                    least: count("minLength").unwrap_or_default(),
                    most: count("maxLength"),
                    starts: starts(schema, path)?,
                    values,
                });
            }
            "array" => {
                let items = match schema.get("items") {
                    Some(items) => Some(self.add(items, &format!("{path}/items"))?),
                    None => None,
                };
                shape.arrays.push(Array {
                    least: count("minItems").unwrap_or_default(),
                    most: count("maxItems"),
                    items,
                });
            }
            "object" => {
                let object = self.object(schema, path)?;
                if shape.object.replace(Objects::One(object)).is_some() {
                    return Err(format!("{path}: two forms of object and no discriminator"));
                }
            }
            other => return Err(format!("{path}: type '{other}' is not known")),
        }
        Ok(())
    }

    fn object(&mut self, schema: &Map<String, Value>, path: &str) -> Result<Object, String> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut members = Vec::new();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, value) in properties {
                let shape = self.add(value, &format!("{path}/properties/{name}"))?;
                members.push(Member {
                    name: name.as_str().into(),
                    shape,
                    required: required.contains(&&**name),
                });
            }
        }
        if members.len() > u128::BITS as usize {
            return Err(format!("{path}: more than {} members", u128::BITS));
        }
        let others = match schema.get("additionalProperties") {
            Some(value @ Value::Object(_)) => {
                Others::Map(self.add(value, &format!("{path}/additionalProperties"))?)
            }
            Some(Value::Bool(false)) => Others::Closed,
            _ => Others::Open,
        };
        let count =
            |value: Option<&Value>| value.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        Ok(Object {
            members,
            others,
            most: count(schema.get("maxProperties")),
            name_most: count(schema.get("propertyNames").and_then(|names| names.get("maxLength"))),
        })
    }

    /// Objects told apart by the constant member `key`; other branches may stand beside them.
    fn told_apart(
        &mut self,
        shape: &mut Shape,
        key: &str,
        branches: &[Value],
        path: &str,
    ) -> Result<(), String> {
        let mut cases = Vec::new();
        for (at, branch) in branches.iter().enumerate() {
            let path = format!("{path}/anyOf/{at}");
            let mut one = Shape::default();
            self.merge(&mut one, branch, &path)?;
            let Some(Objects::One(object)) = one.object.take() else {
                return Err(format!("{path}: must be an object with a constant '{key}'"));
            };
            let place = object.members.iter().find(|member| *member.name == *key).map(|member| member.shape);
            let names = place
                .and_then(|id| self.shapes.get(id.0))
                .and_then(|shape| shape.string.as_ref())
                .map(|strings| strings.values.clone())
                .unwrap_or_default();
            if names.is_empty() {
                return Err(format!("{path}: its '{key}' has no constant value"));
            }
            cases.extend(names.into_iter().map(|name| (name, object.clone())));
        }
        shape.object = Some(Objects::By { key: key.into(), cases });
        Ok(())
    }

    /// "a string", "one of a string or array of objects": the way OpenAI says it.
    fn words(&self, shape: &Shape) -> String {
        let mut kinds: Vec<(&str, String)> = Vec::new();
        match &shape.string {
            Some(strings) if strings.values.is_empty() => kinds.push(("a", "string".into())),
            Some(strings) => kinds.push(("", format!("one of {}", listed(&strings.values, "or")))),
            None => {}
        }
        if let Some(number) = &shape.number {
            kinds.push(if number.whole { ("an", "integer".into()) } else { ("a", "decimal".into()) });
        }
        if shape.boolean {
            kinds.push(("a", "boolean".into()));
        }
        for array in &shape.arrays {
            let of = match array.items.and_then(|id| self.shapes.get(id.0)) {
                Some(item) if item.object.is_some() => "array of objects",
                Some(item) if item.string.is_some() => "array of strings",
                Some(item) if item.number.is_some() => "array of integers",
                Some(item) if !item.arrays.is_empty() => "array of arrays",
                _ => "array",
            };
            if !kinds.iter().any(|(_, known)| known == of) {
                kinds.push(("an", of.into()));
            }
        }
        if shape.object.is_some() {
            kinds.push(("an", "object".into()));
        }
        let with_article = |(article, kind): &(&str, String)| format!("{article} {kind}").trim().to_owned();
        match kinds.as_slice() {
            [] => "null".to_owned(),
            [only] => with_article(only),
            [first, rest @ .., last] => {
                let mut words = format!("one of {}", with_article(first));
                for (_, kind) in rest {
                    words.push_str(", ");
                    words.push_str(kind);
                }
                if !rest.is_empty() {
                    words.push(',');
                }
                format!("{words} or {}", last.1)
            }
        }
    }
}

/// The kinds that a schema names; by its other words where it names none.
fn kinds(schema: &Map<String, Value>, path: &str) -> Result<Vec<String>, String> {
    match schema.get("type") {
        Some(Value::String(kind)) => Ok(vec![kind.clone()]),
        Some(Value::Array(kinds)) => {
            Ok(kinds.iter().filter_map(|kind| kind.as_str().map(str::to_owned)).collect())
        }
        Some(_) => Err(format!("{path}: type must be a string or an array")),
        None if schema.contains_key("const") || schema.contains_key("enum") => Ok(vec!["string".to_owned()]),
        // Nothing is said: anything may stand here.
        None => Ok(["null", "boolean", "number", "string", "array", "object"].map(str::to_owned).to_vec()),
    }
}

fn strings(schema: &Map<String, Value>) -> Vec<Box<str>> {
    let constant = schema.get("const").into_iter();
    let list = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    constant.chain(list).filter_map(|value| value.as_str().map(Into::into)).collect()
}

/// Of patterns only a literal beginning is understood: `^data:`.
fn starts(schema: &Map<String, Value>, path: &str) -> Result<Option<Box<str>>, String> {
    let Some(pattern) = schema.get("pattern") else { return Ok(None) };
    let literal = pattern.as_str().and_then(|text| text.strip_prefix('^'));
    let plain =
        |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/-_ ".contains(&byte));
    match literal.filter(plain) {
        Some(text) => Ok(Some(text.into())),
        None => Err(format!("{path}: only a pattern of '^' and plain letters is understood")),
    }
}

fn known(schema: &Map<String, Value>, path: &str) -> Result<(), String> {
    const WORDS: [&str; 16] = [
        "pattern",
        "type",
        "const",
        "enum",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "items",
        "minItems",
        "maxItems",
        "properties",
        "required",
        "additionalProperties",
        "maxProperties",
        "propertyNames",
    ];
    match schema.keys().find(|key| !WORDS.contains(&&***key) && !SILENT.contains(&&***key)) {
        Some(key) => Err(format!("{path}: '{key}' is not understood")),
        None => Ok(()),
    }
}
