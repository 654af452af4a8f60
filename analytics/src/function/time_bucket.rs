//! `time_bucket(width, ts)`: the start of the bucket that a time is in.

use std::sync::Arc;

use arrow::{
    array::{AsArray, TimestampMicrosecondArray},
    datatypes::{DataType, IntervalMonthDayNanoType, TimestampMicrosecondType},
};
use datafusion::{
    error::Result,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        sort_properties::{ExprProperties, SortProperties},
    },
    scalar::ScalarValue,
};

use super::{INTERVAL, fixed, floor, micros, two};

/// Widths are intervals or texts like `5 minutes`; weeks begin on Monday; no months.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (_, ts) = two(self.name(), given)?;
        Ok(vec![INTERVAL, micros(self.name(), ts)?])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        micros(self.name(), two(self.name(), given)?.1)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let widths = arrays[0].as_primitive::<IntervalMonthDayNanoType>();
        let times = arrays[1].as_primitive::<TimestampMicrosecondType>();
        let buckets = widths.iter().zip(times).map(|pair| match pair {
            (Some(width), Some(ts)) => Ok(floor(ts, fixed(width)?)),
            _ => Ok(None),
        });
        let buckets: TimestampMicrosecondArray = buckets.collect::<Result<_>>()?;
        let buckets = buckets.with_data_type(args.return_field.data_type().clone());
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&buckets, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(buckets)))
    }

    /// Buckets of one width are in the order of their times.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(match inputs {
            [width, ts] if width.sort_properties == SortProperties::Singleton => ts.sort_properties,
            _ => SortProperties::Unordered,
        })
    }
}
