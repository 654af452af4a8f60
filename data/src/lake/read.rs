//! Reading a file of a table bit by bit, for work that must not hold a whole one.

use std::{ops::Range, sync::Arc};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt, TryFutureExt, TryStreamExt, future::BoxFuture, stream::BoxStream,
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, arrow_reader::ArrowReaderOptions,
        async_reader::AsyncFileReader,
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use super::{DataFile, Lake};
use crate::{Error, Result, Table};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 8 * 1024;

impl Lake {
    /// The rows of a file, in its order, fetched a row group at a time and decoded where the
    /// stream is polled.
    ///
    /// [`Error::Corrupt`] with the file's path when it is not a whole Parquet file,
    /// [`Error::Unavailable`] when the store cannot be reached.
    pub async fn rows(
        &self,
        table: Table,
        file: &DataFile,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let path = Path::from(format!("{table}/{}", file.path));
        let reader = Reader { store: self.store(), path, n_bytes: file.n_bytes };
        let name = file.path.clone();
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await;
        let stream = builder.and_then(|builder| builder.with_batch_size(BATCH_ROWS).build());
        let stream = stream.map_err(|error| unreadable(&file.path, error))?;
        Ok(stream.map_err(move |error| unreadable(&name, error)).boxed())
    }
}

/// A file in a store.
struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    n_bytes: u64,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let got = self.store.get_range(&self.path, range);
        got.map_err(|error| ParquetError::External(Box::new(error))).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let got = self.store.get_ranges(&self.path, &ranges).await;
            got.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let n_bytes = self.n_bytes;
        let read = ParquetMetaDataReader::new().load_and_finish(self, n_bytes);
        read.map_ok(Arc::new).boxed()
    }
}

/// A store that fails is no fault of the file, unless it lacks it.
fn unreadable(path: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(cause) => match *cause {
                object_store::Error::NotFound { .. } => Error::corrupt(path, "the file is missing"),
                _ => Error::unavailable("reading a partition", cause),
            },
            Err(cause) => Error::corrupt(path, cause),
        },
        error => Error::corrupt(path, error),
    }
}
