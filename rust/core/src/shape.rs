//! Shape: what a value may look like, compiled from the part of JSON Schema that the field tables use.
//!
//! Law: built once for a snapshot and never changed; it holds no more of a schema than [`crate::validate`] checks, and a
//! schema that says anything else is refused, so that no promise is silently dropped.

mod compile;

use serde_json::Value;

/// Shapes that refer to one another; the first is the root.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes(Vec<Shape>);

/// The place of a shape among its [`Shapes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(usize);

/// What one value may be: any of the kinds that are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// An explicit null.
    pub null: bool,
    /// `true` and `false`.
    pub boolean: bool,
    /// A number.
    pub number: Option<Number>,
    /// A string.
    pub string: Option<Strings>,
    /// An array: one of these.
    pub arrays: Vec<Array>,
    /// An object.
    pub object: Option<Objects>,
    /// What was expected, in words, for whom another kind was sent by.
    pub words: Box<str>,
}

/// A number and its bounds, which belong to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Number {
    /// Only whole ones.
    pub whole: bool,
    /// The least.
    pub least: Option<f64>,
    /// The greatest.
    pub most: Option<f64>,
}

/// A string: its length in characters, or its values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strings {
    /// The fewest characters.
    pub least: usize,
    /// The most characters.
    pub most: Option<usize>,
    /// How it must begin.
    pub starts: Option<Box<str>>,
    /// The only values, in the documented order; empty where any will do.
    pub values: Vec<Box<str>>,
}

/// An array: its length and its elements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Array {
    /// The fewest elements.
    pub least: usize,
    /// The most elements.
    pub most: Option<usize>,
    /// What each element is; anything where nothing is said.
    pub items: Option<Id>,
}

/// One form of object, or several told apart by one member.
#[derive(Debug, Clone, PartialEq)]
pub enum Objects {
    /// One form.
    One(Object),
    /// The string member `key` names the form.
    By {
        /// The member.
        key: Box<str>,
        /// Its values, each with its form.
        cases: Vec<(Box<str>, Object)>,
    },
}

/// A form of object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// The members that are known.
    pub members: Vec<Member>,
    /// The others.
    pub others: Others,
    /// The most members.
    pub most: Option<usize>,
    /// The most characters of a member's name.
    pub name_most: Option<usize>,
}

/// One known member.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub shape: Id,
    /// Whether it must be there.
    pub required: bool,
}

/// Members that are not known by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Others {
    /// Anything goes; the policy for unknown fields decides.
    #[default]
    Open,
    /// Each is of this shape: the object is a map.
    Map(Id),
    /// There are none.
    Closed,
}

impl Shape {
    /// Whether it is the client's own data: an object whose members have no names known here.
    #[must_use]
    pub fn is_free(&self) -> bool {
        matches!(&self.object, Some(Objects::One(object)) if object.members.is_empty())
    }
}

impl Shapes {
    /// Compiles a schema.
    ///
    /// # Errors
    /// The first thing in it that is not understood, with its path.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        compile::compile(schema).map(Self)
    }

    /// The shape at `id`.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&Shape> {
        self.0.get(id.0)
    }

    /// The shape of the whole.
    #[must_use]
    pub fn root(&self) -> Id {
        Id(0)
    }
}

/// `'a' and 'b'`; `'a', 'b', and 'c'`.
#[must_use]
pub fn listed(values: &[Box<str>], word: &str) -> String {
    match values {
        [] => String::new(),
        [only] => format!("'{only}'"),
        [one, two] => format!("'{one}' {word} '{two}'"),
        [rest @ .., last] => {
            let rest: Vec<String> = rest.iter().map(|value| format!("'{value}'")).collect();
            format!("{}, {word} '{last}'", rest.join(", "))
        }
    }
}
