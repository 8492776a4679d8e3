//! What kind of folder it is: its layout, its config, and which file has which tensor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{CheckpointError, Layout, ModelConfig, SafetensorsFile, packed};
use crate::error::{Error, Result};

/// A folder that was recognised, with its weight files open.
pub(super) struct Folder {
    pub(super) layout: Layout,
    pub(super) config: ModelConfig,
    pub(super) files: Vec<SafetensorsFile>,
    /// Tensor name in the files to the file that has it.
    pub(super) places: BTreeMap<String, usize>,
}

impl Folder {
    /// Recognises a folder by what is in it. The official Nemo folder has both layouts; the first whose weights
    /// are there is taken; a packed file, which was made from the others, wins.
    pub(super) fn open(folder: &Path) -> Result<Folder> {
        let kind = std::fs::metadata(folder).map_err(Error::io(folder))?;
        let unknown = |reason: &str| CheckpointError::UnknownLayout {
            path: folder.to_owned(),
            reason: reason.to_owned(),
        };
        if !kind.is_dir() {
            return Err(unknown("expected a folder; a .gguf file is turned into one by `convert`").into());
        }
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let (config, params) = (file("config.json"), file("params.json"));
        if let Some(config) = &config {
            if let Some(weights) = file(packed::FILE) {
                let config = ModelConfig::from_huggingface(config)?;
                let single = BTreeMap::from([(weights.clone(), Vec::new())]);
                let folder = Folder::new(Layout::Packed, config, &single);
                let folder = folder.map_err(|error| packed::unusable(&weights, error))?;
                packed::check_metadata(&folder.files[0])?;
                return Ok(folder);
            }
            if let Some(index) = file("model.safetensors.index.json") {
                let index = read_index(&index)?;
                return Folder::new(Layout::HuggingFace, ModelConfig::from_huggingface(config)?, &index);
            }
            if let Some(weights) = file("model.safetensors") {
                let single = BTreeMap::from([(weights, Vec::new())]);
                return Folder::new(Layout::HuggingFace, ModelConfig::from_huggingface(config)?, &single);
            }
        }
        if let (Some(params), Some(weights)) = (&params, file("consolidated.safetensors")) {
            let single = BTreeMap::from([(weights, Vec::new())]);
            return Folder::new(Layout::Mistral, ModelConfig::from_mistral(params)?, &single);
        }
        let reason = match (config, params) {
            (Some(_), _) => {
                "config.json is there, model.safetensors and model.safetensors.index.json are not"
            }
            (None, Some(_)) => "params.json is there, consolidated.safetensors is not",
            (None, None) => "neither config.json nor params.json is there",
        };
        Err(unknown(reason).into())
    }

    /// Opens the files; each must have the tensors that the index says it has, and no other file has them too.
    fn new(layout: Layout, config: ModelConfig, index: &BTreeMap<PathBuf, Vec<String>>) -> Result<Folder> {
        let mut places = BTreeMap::new();
        let mut files = Vec::with_capacity(index.len());
        for (path, announced) in index {
            let file = SafetensorsFile::open(path)?;
            for name in file.names() {
                if places.insert(name.to_owned(), files.len()).is_some() {
                    return Err(CheckpointError::DuplicateTensor { name: name.to_owned() }.into());
                }
            }
            if let Some(name) = announced.iter().find(|name| places.get(*name) != Some(&files.len())) {
                return Err(CheckpointError::NotInShard { name: name.clone(), path: path.clone() }.into());
            }
            files.push(file);
        }
        Ok(Folder { layout, config, files, places })
    }
}

/// The files that `model.safetensors.index.json` names, and the tensors that it says are in each.
fn read_index(index: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>> {
    let text = std::fs::read(index).map_err(Error::io(index))?;
    let fault = |reason: String| CheckpointError::Config { path: index.to_owned(), reason };
    let json: Value = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| fault("`weight_map` is missing".to_owned()))?;
    let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (tensor, value) in map {
        let name = value.as_str().unwrap_or_default();
        // Only plain names: an index must not make us open files outside the folder.
        if Path::new(name).file_name().is_none_or(|plain| plain != name) {
            return Err(fault(format!("`weight_map`: {value} is not a file name")).into());
        }
        files.entry(index.with_file_name(name)).or_default().push(tensor.clone());
    }
    Ok(files)
}
