//! The OpenAPI document as one page: no script, nothing loaded.

use std::fmt::Write as _;

use serde_json::{Map, Value};

const HEAD: &str = include_str!("docs_page.html");

/// The page of this document.
pub(super) fn render(document: &Value) -> String {
    let mut page = HEAD.to_owned();
    let paths = object(document.get("paths"));
    page += "<nav><ul>";
    for (path, methods) in &paths {
        for method in object(Some(methods)).keys() {
            write(
                &mut page,
                format_args!(
                    "<li><a href=\"#{}\"><b>{}</b> {}</a></li>",
                    anchor(method, path),
                    method.to_uppercase(),
                    text(path)
                ),
            );
        }
    }
    page += "</ul></nav><main><h1>postrider, the API</h1>";
    let about = document.pointer("/info/description").and_then(Value::as_str).unwrap_or("");
    write(
        &mut page,
        format_args!("<p>{} <a href=\"/openapi.json\">openapi.json</a></p>", text(about)),
    );
    for (path, methods) in &paths {
        for (method, operation) in &object(Some(methods)) {
            show_operation(&mut page, path, method, operation);
        }
    }
    page += "<h2 id=\"shapes\">Shapes</h2>";
    for (name, shape) in &object(document.pointer("/components/schemas")) {
        write(&mut page, format_args!("<section id=\"shape-{0}\"><h3>{0}</h3>", text(name)));
        paragraph(&mut page, shape.get("description"));
        show_shape(&mut page, shape);
        page += "</section>";
    }
    page += "</main></body></html>";
    page
}

fn show_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    write(
        page,
        format_args!(
            "<section id=\"{}\"><h2><b class=\"{}\">{}</b> {}</h2>",
            anchor(method, path),
            text(method),
            method.to_uppercase(),
            text(path)
        ),
    );
    paragraph(page, operation.get("summary"));
    paragraph(page, operation.get("description"));
    let parameters = operation.get("parameters").and_then(Value::as_array);
    if let Some(parameters) = parameters.filter(|all| !all.is_empty()) {
        *page += "<table><tr><th>parameter</th><th>in</th><th></th></tr>";
        for parameter in parameters {
            let of = |name| text(parameter.get(name).and_then(Value::as_str).unwrap_or(""));
            let row = (of("name"), of("in"), of("description"));
            write(
                page,
                format_args!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                    row.0, row.1, row.2
                ),
            );
        }
        *page += "</table>";
    }
    for (kind, body) in &object(operation.pointer("/requestBody/content")) {
        let shape = body.get("schema").map(kind_of).unwrap_or_default();
        write(page, format_args!("<p>takes <code>{}</code>: {shape}</p>", text(kind)));
    }
    *page += "<table><tr><th>answer</th><th>body</th><th></th></tr>";
    for (status, answer) in &object(operation.get("responses")) {
        let bodies = object(answer.get("content"));
        let shape = bodies.values().next().and_then(|body| body.get("schema")).map(kind_of);
        let about = answer.get("description").and_then(Value::as_str).unwrap_or("");
        write(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                text(status),
                shape.unwrap_or_default(),
                text(about)
            ),
        );
    }
    *page += "</table></section>";
}

fn show_shape(page: &mut String, shape: &Value) {
    for part in shape.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        match part.get("$ref") {
            Some(_) => write(page, format_args!("<p>all of {}, and</p>", kind_of(part))),
            None => show_shape(page, part),
        }
    }
    let fields = object(shape.get("properties"));
    if fields.is_empty() {
        return;
    }
    let required = shape.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    *page += "<table><tr><th>field</th><th>kind</th><th></th></tr>";
    for (name, field) in &fields {
        let must = if required.iter().any(|one| one == name) { "" } else { " (optional)" };
        let about = field.get("description").and_then(Value::as_str).unwrap_or("");
        write(
            page,
            format_args!(
                "<tr><td><code>{}</code>{must}</td><td>{}</td><td>{}</td></tr>",
                text(name),
                kind_of(field),
                text(about)
            ),
        );
    }
    *page += "</table>";
}

/// A schema in a few words, with a link where it is a shape of its own.
fn kind_of(schema: &Value) -> String {
    if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
        let name = text(to.rsplit('/').next().unwrap_or(to));
        return format!("<a href=\"#shape-{name}\">{name}</a>");
    }
    if let Some(any) = ["oneOf", "anyOf"].iter().find_map(|one| schema.get(*one)?.as_array()) {
        return any.iter().map(kind_of).collect::<Vec<_>>().join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "array" => {
            format!("list of {}", schema.get("items").map(kind_of).unwrap_or_default())
        }
        Some(Value::String(kind)) => text(kind),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).map(text).collect::<Vec<_>>().join(" or ")
        }
        _ => "any JSON".to_owned(),
    }
}

fn paragraph(page: &mut String, said: Option<&Value>) {
    if let Some(said) = said.and_then(Value::as_str).filter(|said| !said.is_empty()) {
        write(page, format_args!("<p>{}</p>", text(said)));
    }
}

fn anchor(method: &str, path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{method}{}", path.chars().map(plain).collect::<String>())
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write(page: &mut String, what: std::fmt::Arguments<'_>) {
    let _infallible = page.write_fmt(what).is_err();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_fields_and_links_are_shown_and_nothing_is_markup() {
        let page = render(&json!({
            "info": {"description": "a <b> & c"},
            "paths": {"/v1/x/{id}": {"get": {
                "description": "Shows one.",
                "parameters": [{"name": "id", "in": "path", "description": "Its <id>."}],
                "responses": {"200": {"description": "ok", "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}},
            }}},
            "components": {"schemas": {"Thing": {
                "required": ["id"],
                "properties": {"id": {"type": "string"}, "of": {"type": ["integer", "null"]}},
            }}},
        }));
        for expected in [
            "<h2><b class=\"get\">GET</b> /v1/x/{id}</h2>",
            "Its &lt;id&gt;.",
            "a &lt;b&gt; &amp; c",
            "<a href=\"#shape-Thing\">Thing</a>",
            "<code>of</code> (optional)",
            "integer or null",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(!page.contains("<script") && !page.contains("http"), "nothing is loaded");
    }
}
