"""Parts of reading an image: pictures, VOI LUTs, codestream headers, lung masks."""
