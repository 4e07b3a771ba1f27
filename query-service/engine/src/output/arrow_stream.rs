//! An Arrow IPC stream.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::writer::StreamWriter;

use super::Encoder;
use crate::error::QueryError;

/// Writes an Arrow IPC stream. A stream without its end mark was cut by an error.
#[derive(Default)]
pub(crate) struct ArrowEncoder(Option<StreamWriter<Vec<u8>>>);

impl ArrowEncoder {
    fn writer(&mut self) -> Result<&mut StreamWriter<Vec<u8>>, ArrowError> {
        self.0.as_mut().ok_or_else(|| ArrowError::IpcError("rows before the schema".to_owned()))
    }
}

impl Encoder for ArrowEncoder {
    fn begin(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        out.append(writer.get_mut());
        self.0 = Some(writer);
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let writer = self.writer()?;
        writer.write(batch)?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let writer = self.writer()?;
        writer.finish()?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn fail(&mut self, _error: &QueryError, _out: &mut Vec<u8>) -> bool {
        false
    }
}
