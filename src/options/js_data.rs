//! JavaScript that is plain data, read without running it: the value that a file exports, as far as it is written out in
//! literals. What is an expression (`process.env.PORT || 3000`) is kept as its text.

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `null`, `undefined`.
    Null,
    /// `true`, `false`.
    Truth(bool),
    /// A number, as it is written.
    Number(String),
    /// A text without anything to be put in.
    Text(String),
    /// A list.
    List(Vec<Data>),
    /// An object, in the order of writing.
    Object(Vec<(String, Data)>),
    /// Something that only running it would tell: its source.
    Expression(String),
}

impl Data {
    /// The field of an object.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Data> {
        match self {
            Data::Object(fields) => fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A text, or a number as text.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match self {
            Data::Text(text) | Data::Number(text) => Some(text),
            _ => None,
        }
    }
}

/// Deeper than this no configuration is.
const DEEPEST: usize = 32;

/// What the file exports: JSON, `module.exports = …`, `export default …`, or either of them with a name whose value is
/// written out before. `None`: nothing of that is there.
#[must_use]
pub fn exported(source: &str) -> Option<Data> {
    let mut reader = Reader { rest: source.trim_start_matches('\u{feff}') };
    reader.skip_blank();
    if reader.rest.starts_with(['{', '[']) {
        return Some(reader.value(0));
    }
    let find = |word, assigned| Reader { rest: source }.find(&[word], assigned);
    // Of `exports = module.exports = {…}` the second counts.
    let mut after =
        find("module.exports", true).or_else(|| find("exports", true)).or_else(|| find("export default", false))?;
    after.skip_blank();
    match after.value(0) {
        Data::Expression(name) if is_name(&name) => {
            let mut named = Reader { rest: source }.find(&[&name], true)?;
            named.skip_blank();
            Some(named.value(0))
        }
        value => Some(value),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_name) && !text.starts_with(|first: char| first.is_ascii_digit())
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The place behind the first of these words that stands for itself, outside of comments and texts; behind the `=` that
    /// follows it, where that is asked for.
    fn find(&mut self, words: &[&str], assigned: bool) -> Option<Reader<'a>> {
        let mut before = ' ';
        loop {
            let length = self.rest.len();
            self.skip_blank();
            if self.rest.len() < length {
                before = ' ';
            }
            let first = self.rest.chars().next()?;
            if !is_of_name(before) && before != '.' {
                for word in words {
                    let Some(after) = self.rest.strip_prefix(word).filter(|after| !after.starts_with(is_of_name))
                    else {
                        continue;
                    };
                    let mut after = Reader { rest: after };
                    if !assigned {
                        return Some(after);
                    }
                    after.skip_blank();
                    if let Some(value) = after.rest.strip_prefix('=').filter(|value| !value.starts_with(['=', '>'])) {
                        return Some(Reader { rest: value });
                    }
                }
            }
            if matches!(first, '"' | '\'' | '`') {
                self.text()?;
                before = first;
            } else {
                self.rest = &self.rest[first.len_utf8()..];
                before = first;
            }
        }
    }

    /// Blanks and comments.
    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(comment) = self.rest.strip_prefix("//") {
                self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                self.rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
            } else {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Data {
        self.skip_blank();
        let begin = self.rest;
        let read = if depth > DEEPEST { None } else { self.literal(depth) };
        self.skip_blank();
        match read {
            // Nothing that goes on with it.
            Some(value) if self.rest.is_empty() || self.rest.starts_with([',', '}', ']', ';', ')']) || depth == 0 => {
                value
            }
            _ => {
                self.rest = begin;
                self.expression()
            }
        }
    }

    fn literal(&mut self, depth: usize) -> Option<Data> {
        match self.rest.chars().next()? {
            '{' => self.object(depth),
            '[' => self.list(depth),
            '"' | '\'' | '`' => self.text().map(Data::Text),
            _ => {
                let end = self
                    .rest
                    .find(|one: char| !(is_of_name(one) || matches!(one, '.' | '-' | '+')))
                    .unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                let value = match word {
                    "null" | "undefined" => Data::Null,
                    "true" => Data::Truth(true),
                    "false" => Data::Truth(false),
                    _ if word.replace('_', "").parse::<f64>().is_ok() && !word.ends_with('N') && word != "inf" => {
                        Data::Number(word.replace('_', ""))
                    }
                    _ => return None,
                };
                self.rest = rest;
                Some(value)
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Data> {
        self.rest = self.rest.strip_prefix('{')?;
        let mut fields = Vec::new();
        loop {
            self.skip_blank();
            if let Some(rest) = self.rest.strip_prefix('}') {
                self.rest = rest;
                return Some(Data::Object(fields));
            }
            if self.rest.starts_with("...") {
                let spread = self.expression();
                fields.push((String::new(), spread));
            } else {
                let name = self.name()?;
                self.skip_blank();
                match self.rest.strip_prefix(':') {
                    Some(rest) => {
                        self.rest = rest;
                        let value = self.value(depth + 1);
                        fields.push((name, value));
                    }
                    // `{ name }`, or a method.
                    None => {
                        let source = self.expression();
                        let Data::Expression(source) = source else { return None };
                        fields.push((name.clone(), Data::Expression(name + &source)));
                    }
                }
            }
            self.skip_blank();
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None if self.rest.starts_with('}') => {}
                None => return None,
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        if self.rest.starts_with(['"', '\'']) {
            return self.text();
        }
        let end = self.rest.find(|one| !is_of_name(one)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn list(&mut self, depth: usize) -> Option<Data> {
        self.rest = self.rest.strip_prefix('[')?;
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                return Some(Data::List(items));
            }
            items.push(self.value(depth + 1));
            self.skip_blank();
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None if self.rest.starts_with(']') => {}
                None => return None,
            }
        }
    }

    /// A text in quotes; `None` for one with `${…}` in it, or without its end.
    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        let mut is_plain = true;
        while let Some((at, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.rest = &self.rest[at + quote.len_utf8()..];
                    return is_plain.then_some(text);
                }
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    '\n' => {}
                    // Digits of a code: rare, and never of a name.
                    'u' | 'x' | '0' => is_plain = false,
                    other => text.push(other),
                },
                '$' if quote == '`' && characters.peek().is_some_and(|(_, next)| *next == '{') => is_plain = false,
                '\n' if quote != '`' => return None,
                other => text.push(other),
            }
        }
        None
    }

    /// Up to the comma or bracket that ends it.
    fn expression(&mut self) -> Data {
        let begin = self.rest;
        let mut depth = 0_usize;
        while let Some(first) = self.rest.chars().next() {
            match first {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' | ';' if depth == 0 => break,
                '"' | '\'' | '`' => {
                    let before = self.rest;
                    self.text();
                    if self.rest.len() < before.len() {
                        continue;
                    }
                }
                '/' if self.rest.starts_with("//") || self.rest.starts_with("/*") => {
                    self.skip_blank();
                    continue;
                }
                _ => {}
            }
            self.rest = &self.rest[first.len_utf8()..];
        }
        Data::Expression(begin[..begin.len() - self.rest.len()].trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Data {
        Data::Text(text.to_owned())
    }

    #[test]
    fn what_is_written_out_is_read_however_it_is_exported() {
        let wanted = Data::Object(vec![
            ("name".to_owned(), text("it's")),
            ("list".to_owned(), Data::List(vec![Data::Number("-1".to_owned()), Data::Truth(true), Data::Null])),
            ("a-b".to_owned(), Data::Object(Vec::new())),
        ]);
        let written = r#"{ // a comment, with 'quotes
            name: 'it\'s', /* module.exports = 1 */ "list": [-1, true, undefined,], 'a-b': {},
        }"#;
        for file in [
            written.to_owned(),
            format!("module.exports = {written};"),
            format!("'use strict';\nconst x = 'module.exports = 7';\nexports = module.exports = {written}"),
            format!("export default {written}"),
            format!("const config = {written};\n\nmodule.exports = config;\n"),
            format!("/** @type {{x}} */\nlet c = {written}\nexport default c"),
        ] {
            assert_eq!(exported(&file), Some(wanted.clone()), "{file}");
        }
    }

    #[test]
    fn an_expression_is_kept_as_its_text_and_the_rest_is_read() {
        let file = "module.exports = { port: process.env.PORT || 3000, path: `${__dirname}/x`, f() { return { a: 1 } }, up: 'x' + ',', \
                    big: 1_000, ...rest, last: `plain` }";
        let Some(read) = exported(file) else { panic!("nothing is read") };
        let source = |text: &str| Some(Data::Expression(text.to_owned()));
        assert_eq!(read.field("port").cloned(), source("process.env.PORT || 3000"));
        assert_eq!(read.field("path").cloned(), source("`${__dirname}/x`"));
        assert_eq!(read.field("up").cloned(), source("'x' + ','"));
        assert_eq!(read.field("big"), Some(&Data::Number("1000".to_owned())));
        assert_eq!(read.field("last"), Some(&text("plain")));
    }

    #[test]
    fn rubbish_is_no_data_and_ends() {
        for file in
            ["", "   ", "server.listen(1)", "module.exports", "module.exports == 1", "// module.exports = {}", "'"]
        {
            assert_eq!(exported(file), None, "{file}");
        }
        for file in [
            "module.exports = {",
            "module.exports = [1",
            "module.exports = { a: ",
            "module.exports = {a:'",
            "{",
            "module.exports = \"x",
        ] {
            assert!(matches!(exported(file), Some(Data::Expression(_)) | None), "{file}: {:?}", exported(file));
        }
        let deep = format!("module.exports = {}", "[".repeat(100_000));
        drop(exported(&deep));
        let deep = format!("module.exports = {}{}", "[".repeat(1_000), "]".repeat(1_000));
        drop(exported(&deep));
    }
}
