"""Parts of image reading: pictures, VOI LUTs, codestream headers, lung masks."""
