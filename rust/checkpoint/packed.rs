//! The packed file: weights as the engine multiplies them, so that a mapped file is used in place.
//!
//! `docs/packed-format.md` describes it. Here are its names and its checks, which read the header only; it is written by
//! `convert`, in Python.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::{Checkpoint, CheckpointError, Dtype, SafetensorsFile, Tensor};
use crate::error::{Error, Result};
use crate::fp8::panels::{BLOCK, PANEL, QUAD};
use crate::fp8::{Fp8Rows, GROUP, Panels};
use crate::mapped_file::MappedBytes;

/// The file's name in its folder.
pub const FILE: &str = "packed.safetensors";
/// The metadata key of the format's version.
pub const VERSION_KEY: &str = "nemo_fast.packed_version";
/// The version that is read and written. Whatever changes what the bytes mean is another one.
pub const VERSION: &str = "1";
/// The metadata key of the order of a matrix's bytes, and the order that is read and written.
const LAYOUT_KEY: &str = "nemo_fast.layout";
const LAYOUT: &str = "panel16";

/// Projections that are one matrix here.
pub(super) struct Matrix {
    name: &'static str,
    /// Whose rows it has, in order.
    pub(super) projections: &'static [&'static str],
    pub(super) is_gated: bool,
}

pub(super) const QKV_PROJ: Matrix = Matrix {
    name: "self_attn.qkv_proj",
    projections: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    is_gated: false,
};
pub(super) const O_PROJ: Matrix =
    Matrix { name: "self_attn.o_proj", projections: &["self_attn.o_proj"], is_gated: false };
pub(super) const GATE_UP_PROJ: Matrix =
    Matrix { name: "mlp.gate_up_proj", projections: &["mlp.gate_proj", "mlp.up_proj"], is_gated: true };
pub(super) const DOWN_PROJ: Matrix =
    Matrix { name: "mlp.down_proj", projections: &["mlp.down_proj"], is_gated: false };
pub(super) const LM_HEAD: Matrix = Matrix { name: "lm_head", projections: &["lm_head"], is_gated: false };
/// Those of a layer.
pub(super) const MATRICES: [&Matrix; 4] = [&QKV_PROJ, &O_PROJ, &GATE_UP_PROJ, &DOWN_PROJ];

/// What is wrong with a packed file, and what to do.
pub(super) fn unusable(path: &Path, error: Error) -> Error {
    match error {
        Error::Checkpoint(CheckpointError::Header { reason, .. }) => {
            fault(path, &format!("not a valid safetensors file: {reason}"))
        }
        Error::Checkpoint(error) => fault(path, &error.to_string()),
        other => other,
    }
}

fn fault(path: &Path, reason: &str) -> Error {
    CheckpointError::Packed { path: path.to_owned(), reason: reason.to_owned() }.into()
}

/// Refuses other versions and layouts, which mean other bytes by the same names.
pub(super) fn check_metadata(file: &SafetensorsFile) -> Result<()> {
    for (key, what, known) in [(VERSION_KEY, "version", VERSION), (LAYOUT_KEY, "layout", LAYOUT)] {
        let reason = match file.metadata().get(key) {
            Some(found) if found == known => continue,
            Some(found) => {
                format!("a packed file of {what} {found:?}, and this nemo_fast reads {what} {known:?}")
            }
            None => format!("not a packed file: its metadata lack {key}"),
        };
        return Err(fault(file.path(), &reason));
    }
    Ok(())
}

impl Checkpoint {
    /// The matrix and the range of its rows that are the projection `model.layers.N.self_attn.q_proj.weight` or the like;
    /// the first part of its names is `model.layers.N.`. None for what is not packed.
    pub(super) fn rows_in_matrix<'a>(
        &self,
        weight: &'a str,
    ) -> Option<(&'a str, &'static Matrix, Range<usize>)> {
        let name = weight.strip_suffix(".weight")?;
        let head = self.has_packed_head().then_some(&LM_HEAD);
        for matrix in MATRICES.into_iter().chain(head) {
            let mut first = 0;
            for projection in matrix.projections {
                let prefix = name.strip_suffix(projection);
                let rows = self.projection_shape(prefix.unwrap_or_default(), projection)[0];
                if let Some(prefix) = prefix {
                    return Some((prefix, matrix, first..first + rows));
                }
                first += rows;
            }
        }
        None
    }

    /// `[rows, columns]` of a projection, as the config has it.
    fn projection_shape(&self, prefix: &str, projection: &str) -> [usize; 2] {
        let shape = &self.shapes(&format!("{prefix}{projection}.weight"))[0];
        [shape[0], shape[1]]
    }

    /// Whether a packed file has its own head.
    pub(super) fn has_packed_head(&self) -> bool {
        self.places.contains_key(&codes_name("", &LM_HEAD))
    }

    /// A matrix in place, its pages in memory.
    pub(super) fn panels(&self, prefix: &str, matrix: &Matrix) -> Result<Panels> {
        self.panels_of(prefix, matrix, |codes| {
            self.populate(&codes)?;
            Ok(codes)
        })
    }

    /// A matrix whose codes are made ready by `ready`.
    fn panels_of(
        &self,
        prefix: &str,
        matrix: &Matrix,
        ready: impl FnOnce(Tensor) -> Result<Tensor>,
    ) -> Result<Panels> {
        let (codes, scales, outputs, columns) = self.packed_tensors(prefix, matrix)?;
        let scales = self.floats(scales)?;
        let codes = ready(codes)?.into_bytes();
        Ok(Panels { codes, scales, outputs, columns, is_gated: matrix.is_gated })
    }

    /// How many scales a row of a matrix has.
    pub(super) fn packed_groups(&self, prefix: &str, matrix: &Matrix) -> Result<usize> {
        let (_, scales, ..) = self.packed_tensors(prefix, matrix)?;
        Ok(scales.shape[1])
    }

    /// The rows of a projection, unpacked.
    pub(super) fn unpacked(&self, prefix: &str, matrix: &Matrix, rows: Range<usize>) -> Result<Fp8Rows> {
        Ok(self.panels_of(prefix, matrix, |codes| self.read_whole(codes))?.rows(rows))
    }

    /// Codes and scales, checked, and the matrix's outputs and columns.
    fn packed_tensors(&self, prefix: &str, matrix: &Matrix) -> Result<(Tensor, Tensor, usize, usize)> {
        let shapes = matrix.projections.iter().map(|projection| self.projection_shape(prefix, projection));
        let (rows, columns) = shapes.fold((0, 0), |(rows, _), [more, columns]| (rows + more, columns));
        // The values of a gated matrix are no outputs of their own.
        let halves = if matrix.is_gated { 2 } else { 1 };
        let outputs = rows / halves;
        let panels = halves * outputs.div_ceil(PANEL);
        let codes_shape = [panels, columns.div_ceil(QUAD), BLOCK];
        let codes = self.packed_tensor(codes_name(prefix, matrix), Dtype::F8E4M3, &[&codes_shape])?;
        // A scale a row, or one for each group of columns.
        let scale_shapes = [1, columns.div_ceil(GROUP)].map(|groups| [panels, groups, PANEL]);
        let scale_shapes = scale_shapes.each_ref().map(|shape| &shape[..]);
        let scales = self.packed_tensor(scales_name(prefix, matrix), Dtype::F32, &scale_shapes)?;
        Ok((codes, scales, outputs, columns))
    }

    fn packed_tensor(&self, name: String, dtype: Dtype, shapes: &[&[usize]]) -> Result<Tensor> {
        let tensor = self.files[0].tensor(&name)?.ok_or(CheckpointError::MissingTensor { name })?;
        if tensor.dtype != dtype {
            let (expected, found) = (dtype.name(), tensor.dtype.to_string());
            return Err(CheckpointError::Dtype { name: tensor.name, expected, found }.into());
        }
        if !shapes.contains(&&tensor.shape[..]) {
            let expected = shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" or ");
            return Err(CheckpointError::Shape { name: tensor.name, expected, found: tensor.shape }.into());
        }
        if let Some(start) = tensor.mapped().map(MappedBytes::start)
            && !start.is_multiple_of(BLOCK)
        {
            return Err(CheckpointError::Alignment { name: tensor.name, start, alignment: BLOCK }.into());
        }
        Ok(tensor)
    }

    /// Checks that all of the file's tensors are there and as the config says, and nothing else.
    pub(super) fn check_packed(&self) -> Result<()> {
        let mut expected = BTreeSet::new();
        let mut matrix = |prefix: &str, matrix: &Matrix| -> Result<()> {
            let (codes, scales, ..) = self.packed_tensors(prefix, matrix)?;
            expected.extend([codes.name, scales.name]);
            Ok(())
        };
        for layer in 0..self.config.num_hidden_layers {
            let prefix = format!("model.layers.{layer}.");
            for part in MATRICES {
                matrix(&prefix, part)?;
            }
        }
        if self.has_packed_head() {
            matrix("", &LM_HEAD)?;
        }
        for name in self.tensor_names() {
            if self.rows_in_matrix(&name).is_none() {
                expected.insert(self.dense(&name)?.name);
            }
        }
        match self.places.keys().find(|name| !expected.contains(*name)) {
            Some(name) => Err(CheckpointError::UnexpectedTensor { name: name.clone() }.into()),
            None => Ok(()),
        }
    }
}

fn codes_name(prefix: &str, matrix: &Matrix) -> String {
    format!("{prefix}{}.codes", matrix.name)
}

fn scales_name(prefix: &str, matrix: &Matrix) -> String {
    format!("{prefix}{}.scales", matrix.name)
}
