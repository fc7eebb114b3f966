"""Steps of reading an image: pictures, VOI LUTs, codestreams, lung masks."""
