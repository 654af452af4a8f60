//! Writes an answer batch by batch, so that a long one is never held whole.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    csv,
    datatypes::{FieldRef, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
    json,
};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

use super::Format;

/// Rows of a row group of Parquet: so many are held until they are written.
const GROUP_ROWS: usize = 100_000;

/// Rows in, bytes out.
pub(super) struct Writer {
    kind: Kind,
    buffer: Buffer,
}

enum Kind {
    Json(json::Writer<Buffer, json::writer::JsonArray>),
    /// The columns are named with the first batch, or with an empty one.
    Csv(Box<csv::Writer<Buffer>>, Option<SchemaRef>),
    Arrow(Box<StreamWriter<Buffer>>),
    Parquet(Box<ArrowWriter<Buffer>>),
}

impl Writer {
    /// A writer of rows of this schema.
    ///
    /// # Errors
    /// When a column has a type that the format cannot hold.
    pub(super) fn new(format: Format, schema: &SchemaRef) -> anyhow::Result<Self> {
        let buffer = Buffer::default();
        let into = buffer.clone();
        let kind = match format {
            Format::Json => {
                // A column that is null is still a column.
                let builder = json::WriterBuilder::new().with_explicit_nulls(true);
                Kind::Json(builder.build(into))
            }
            Format::Csv => Kind::Csv(Box::new(csv::Writer::new(into)), Some(Arc::clone(schema))),
            Format::Arrow => {
                let schema: &Schema = schema;
                Kind::Arrow(Box::new(StreamWriter::try_new(into, schema)?))
            }
            Format::Parquet => {
                let groups =
                    WriterProperties::builder().set_max_row_group_row_count(Some(GROUP_ROWS));
                let writer = ArrowWriter::try_new(into, Arc::clone(schema), Some(groups.build()))?;
                Kind::Parquet(Box::new(writer))
            }
        };
        Ok(Self { kind, buffer })
    }

    /// The bytes that are ready once `batch` is written.
    ///
    /// # Errors
    /// As for [`Writer::new`].
    pub(super) fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<Vec<u8>> {
        match &mut self.kind {
            Kind::Json(writer) => writer.write(batch)?,
            Kind::Csv(writer, unnamed) => {
                *unnamed = None;
                writer.write(&flat(batch)?)?;
            }
            Kind::Arrow(writer) => writer.write(batch)?,
            Kind::Parquet(writer) => writer.write(batch)?,
        }
        Ok(self.buffer.take())
    }

    /// The last bytes.
    ///
    /// # Errors
    /// As for [`Writer::new`].
    pub(super) fn finish(self) -> anyhow::Result<Vec<u8>> {
        match self.kind {
            Kind::Json(mut writer) => writer.finish()?,
            Kind::Csv(mut writer, Some(schema)) => {
                writer.write(&flat(&RecordBatch::new_empty(schema))?)?;
            }
            Kind::Csv(_, None) => (),
            Kind::Arrow(mut writer) => writer.finish()?,
            Kind::Parquet(writer) => drop(writer.close()?),
        }
        Ok(self.buffer.take())
    }
}

/// `batch` with lists, maps and the like as text, in JSON.
fn flat(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = batch.schema();
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let is_nested = field.data_type().is_nested();
        let column = if is_nested { in_json(column, field)? } else { Arc::clone(column) };
        Ok((field.name(), column, true))
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn in_json(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let options = json::EncoderOptions::default();
    let mut encoder = json::writer::make_encoder(field, column, &options)?;
    let mut text = vec![];
    let row = |row| {
        if encoder.is_null(row) {
            return None;
        }
        text.clear();
        encoder.encode(row, &mut text);
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    Ok(Arc::new((0..column.len()).map(row).collect::<StringArray>()))
}

/// Where a writer writes to, and we take from.
#[derive(Clone, Debug, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float64Array, Int64Array, ListArray},
        datatypes::{DataType, Field, Int64Type},
        ipc::reader::StreamReader,
    };

    use super::*;

    fn batches() -> Vec<RecordBatch> {
        let fields = vec![
            Field::new("host", DataType::Utf8, true),
            Field::new("value", DataType::Float64, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let batch = |host: Option<&str>, value| {
            let columns: [ArrayRef; 2] = [
                Arc::new(StringArray::from(vec![host])),
                Arc::new(Float64Array::from(vec![value])),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).unwrap()
        };
        vec![batch(Some("a"), Some(1.0)), batch(None, Some(2.0))]
    }

    fn written(format: Format, batches: &[RecordBatch], schema: &SchemaRef) -> Vec<u8> {
        let mut writer = Writer::new(format, schema).unwrap();
        let mut bytes: Vec<u8> =
            batches.iter().flat_map(|batch| writer.write(batch).unwrap()).collect();
        bytes.extend(writer.finish().unwrap());
        bytes
    }

    #[track_caller]
    fn check(format: Format, batches: &[RecordBatch], schema: &SchemaRef, expected: &str) {
        let bytes = written(format, batches, schema);
        assert_eq!(String::from_utf8_lossy(&bytes), expected, "{format:?}");
    }

    /// A list has no place in CSV; its text has.
    #[track_caller]
    fn check_nested() {
        let lists = [Some(vec![Some(1), None]), None];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let n = Int64Array::from(vec![7, 8]);
        let columns: [(&str, ArrayRef); 2] = [("l", Arc::new(lists)), ("n", Arc::new(n))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = batch.schema();
        check(Format::Csv, &[batch], &schema, "l,n\n\"[1,null]\",7\n,8\n");
    }

    #[test]
    fn parts_make_one_whole_and_none_is_a_whole_too() {
        let batches = batches();
        let schema = batches[0].schema();
        let all = r#"[{"host":"a","value":1.0},{"host":null,"value":2.0}]"#;
        check(Format::Json, &batches, &schema, all);
        check(Format::Json, &[], &schema, "[]");
        check(Format::Csv, &batches, &schema, "host,value\na,1.0\n,2.0\n");
        check(Format::Csv, &[], &schema, "host,value\n");
        check_nested();
        let bytes = written(Format::Arrow, &batches, &schema);
        let read = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap(), batches);
        let bytes = written(Format::Parquet, &batches, &schema);
        let read = data::parquet::decode("answer", bytes.into()).unwrap();
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    }
}
