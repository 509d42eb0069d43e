// Schemas of an OpenAPI description, as the tests ask them: types, enums, formats and limits always, no field that the
// description does not know, and of the required fields those whose names stand in gatelog's source (GitHub's lists name
// hundreds that nobody reads here: most are addresses).
'use strict';
const Ajv = require('ajv/dist/2020');
const formats = require('ajv-formats');

/** What is taken over as it stands. */
const PLAIN = ['type', 'enum', 'const', 'format', 'pattern', 'minLength', 'maxLength', 'minimum', 'maximum', 'minItems', 'maxItems', 'uniqueItems'];

class Description {
  /** `names`: of the fields that are read. */
  constructor(document, names) {
    this.document = document;
    this.names = new Set(names);
    this.parts = {};
    this.ajv = new Ajv({ strict: false, allErrors: true, logger: false, validateFormats: true });
    formats(this.ajv);
    // GitHub writes `1+renovate[bot]@users.noreply.github.com`, which is none by the RFC.
    this.ajv.addFormat('email', /^\S+@\S+$/);
  }

  at(ref) {
    const step = (v, k) => v[k.replace(/~1/g, '/').replace(/~0/g, '~')];
    return ref.slice(2).split('/').reduce(step, this.document);
  }

  /** `open`: a field that is not known here may be known beside it (`allOf`). */
  asked(schema, open) {
    if (schema.$ref) {
      const name = `${open ? 'open' : 'closed'}${schema.$ref}`.replace(/[^A-Za-z0-9]/g, '_');
      if (!this.parts[name]) {
        this.parts[name] = {};
        Object.assign(this.parts[name], this.asked(this.at(schema.$ref), open));
      }
      return { $ref: `parts#/$defs/${name}` };
    }
    const out = {};
    for (const key of PLAIN) if (key in schema) out[key] = schema[key];
    const either = schema.anyOf || schema.oneOf;
    const mixed = Boolean(schema.allOf || (either && schema.properties));
    const inner = open || mixed;
    if (schema.allOf) out.allOf = schema.allOf.map((s) => this.asked(s, true));
    // With fields left out, more than one of `oneOf` may fit.
    if (either) {
      const asked = either.map((s) => this.asked(s, inner));
      const some = asked.filter((s) => s.type !== 'null');
      const fits = some.length === 1 ? some[0] : { anyOf: some };
      Object.assign(out, some.length < asked.length ? orNull(fits) : fits);
    }
    if (schema.items) out.items = this.asked(schema.items, false);
    if (schema.properties) {
      out.properties = {};
      for (const [name, s] of Object.entries(schema.properties)) out.properties[name] = this.asked(s, false);
      out.required = (schema.required || []).filter((name) => this.names.has(name));
    }
    const more = schema.additionalProperties;
    if (more !== undefined) out.additionalProperties = typeof more === 'object' ? this.asked(more, false) : more;
    else if (!open && (mixed || schema.properties)) out.unevaluatedProperties = false;
    return schema.nullable ? nullable(out) : out;
  }

  /** A validator of a schema; all must be asked for before the first is used. */
  validator(schema) {
    const asked = this.asked(schema, false);
    let compiled;
    return (value) => {
      if (!this.ajv.getSchema('parts')) this.ajv.addSchema({ $id: 'parts', $defs: this.parts });
      compiled ||= this.ajv.compile(asked);
      return compiled(value) ? [] : said(compiled.errors, value);
    };
  }
}

/** As an alternative of two, and without the complaint that what is there is not null. */
const orNull = (schema) => ({ if: { type: 'null' }, then: true, else: schema });

/** OpenAPI 3.0's word for what JSON Schema writes as a type. */
function nullable(schema) {
  if (schema.$ref || schema.allOf || schema.anyOf || schema.else) return orNull(schema);
  if (schema.type) schema.type = [].concat(schema.type, 'null');
  if (schema.enum) schema.enum = [...schema.enum, null];
  return schema;
}

/** The errors; that no alternative fits follows from what is said of each. */
function said(errors, value) {
  const own = errors.filter((e) => !['anyOf', 'if'].includes(e.keyword));
  const lines = own.map((e) => {
    const names = e.params.unevaluatedProperty || e.params.additionalProperty || (e.params.allowedValues || []).join(', ');
    const there = e.instancePath.split('/').slice(1).reduce((v, k) => v?.[k.replace(/~1/g, '/').replace(/~0/g, '~')], value);
    const shown = typeof there === 'object' ? '' : `, is ${JSON.stringify(there)}`;
    return `${e.instancePath.replace(/\/\d+/g, '/*') || '/'} ${e.message}${names ? ` (${names})` : ''}${shown}`;
  });
  return [...new Set(lines)];
}

module.exports = { Description };
