"""ONNX Runtime: forward passes."""

import sys

import numpy as np
import onnxruntime

import sampling

if "--version" in sys.argv:
    print(onnxruntime.__version__)
    sys.exit()

import onnx
from onnx import TensorProto, helper, numpy_helper

args = sampling.case()
if args.suite != "infer":
    sys.exit(f"expected the suite infer, got {args.suite}")

rng = np.random.default_rng(0)
nodes, weights, x = [], [], "x"
pairs = list(zip(args.layers, args.layers[1:]))
for layer, (fan_in, width) in enumerate(pairs):
    w = rng.uniform(-1, 1, (width, fan_in)).astype(np.float32) * fan_in**-0.5
    weights.append(numpy_helper.from_array(w, f"w{layer}"))
    weights.append(numpy_helper.from_array(np.zeros(width, np.float32), f"b{layer}"))
    y = f"z{layer}"
    nodes.append(helper.make_node("Gemm", [x, f"w{layer}", f"b{layer}"], [y], transB=1))
    if layer + 1 < len(pairs):
        x = f"h{layer}"
        nodes.append(helper.make_node("Relu" if args.activation == "relu" else "Tanh", [y], [x]))
inputs = helper.make_tensor_value_info("x", TensorProto.FLOAT, [args.batch, args.layers[0]])
outputs = helper.make_tensor_value_info(y, TensorProto.FLOAT, [args.batch, args.layers[-1]])
graph = helper.make_graph(nodes, "mlp", [inputs], [outputs], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = args.threads
session = onnxruntime.InferenceSession(
    model.SerializeToString(), options, providers=["CPUExecutionProvider"]
)
feed = {"x": rng.uniform(-1, 1, (args.batch, args.layers[0])).astype(np.float32)}
sampling.serve(lambda: session.run(None, feed))
