//! `date_trunc(precision, ts)` for times in UTC, which is what all tables have.
//!
//! The engine's own function asks the zone of every single value. UTC has no changes of the clock,
//! so its values are truncated as if they had no zone, which is arithmetic.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    error::Result,
    functions::datetime,
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        sort_properties::{ExprProperties, SortProperties},
    },
};

/// The engine's function, with a short cut.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateTrunc {
    general: Arc<ScalarUDF>,
}

impl DateTrunc {
    pub(super) fn new() -> Self {
        Self { general: datetime::date_trunc() }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.general.name()
    }

    fn aliases(&self) -> &[String] {
        self.general.aliases()
    }

    fn signature(&self) -> &Signature {
        self.general.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.general.return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.general.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.general.inner().output_ordering(inputs)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let utc = match args.args.get(1).map(ColumnarValue::data_type) {
            Some(DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) if &*zone == "UTC" => zone,
            _ => return self.general.invoke_with_args(args),
        };
        let zoned = |array: &ArrayRef, zone| -> ArrayRef {
            let times = array.as_primitive::<TimestampMicrosecondType>().clone();
            Arc::new(times.with_timezone_opt(zone))
        };
        let ColumnarValue::Array(times) = &args.args[1] else {
            return self.general.invoke_with_args(args);
        };
        args.args[1] = ColumnarValue::Array(zoned(times, None::<Arc<str>>));
        let promised = args.return_field.as_ref().clone();
        args.return_field = Arc::new(promised.with_data_type(args.args[1].data_type()));
        Ok(match self.general.invoke_with_args(args)? {
            ColumnarValue::Array(times) => ColumnarValue::Array(zoned(&times, Some(utc))),
            scalar => scalar,
        })
    }
}
