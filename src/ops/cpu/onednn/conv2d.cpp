#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "ops/cpu/onednn/onednn_common.h"
#include "ops/cpu/onednn/onednn_ops.h"

namespace intaglio::onednn {
namespace {

using Tag = dnnl::memory::format_tag;
using Convolution = dnnl::convolution_forward;

struct Conv {
  Convolution::primitive_desc desc;
  Convolution primitive;
};

using Cache = PrimitiveCache<Conv, 9>;

Cache& cache() {
  static Cache instance;
  return instance;
}

Convolution::primitive_desc make_desc(const Conv2dDesc& d, bool add,
                                      const dnnl::memory::desc& weights) {
  const dnnl::memory::desc x({1, d.in_channels, d.height, d.width}, data_type(d.dtype), Tag::nhwc);
  const dnnl::memory::desc y({1, d.out_channels, d.height, d.width}, data_type(d.out_dtype()),
                             Tag::nhwc);
  const dnnl::memory::desc bias({d.out_channels}, dnnl::memory::data_type::f32, Tag::x);
  const int64_t pad = (d.kernel - 1) / 2;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (add) {
    dnnl::post_ops post;
    post.append_sum(1.0f);
    attributes.set_post_ops(post);
  }
  return {Convolution::desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
                            x, weights, bias, y, {1, 1}, {pad, pad}, {pad, pad}),
          attributes, cpu_engine()};
}

// The layout of packed weights: what oneDNN likes at a middling size, the same for every call.
dnnl::memory::desc packed_desc(Conv2dDesc d) {
  d.height = d.width = 64;
  d.f32_out = false;
  const ThreadCount one(1);
  const dnnl::memory::desc any({d.out_channels, d.in_channels, d.kernel, d.kernel},
                               data_type(d.dtype), Tag::any);
  return make_desc(d, false, any).weights_desc();
}

// The calling thread's OpenMP count must be `threads`.
std::shared_ptr<const Conv> find_conv(const Conv2dDesc& d, bool add, int threads) {
  const Cache::Key key{d.height,       d.width,  d.in_channels,
                       d.out_channels, d.kernel, static_cast<int64_t>(d.dtype),
                       d.f32_out,      add,      threads};
  return cache().get(key, [&] {
    const Convolution::primitive_desc desc = make_desc(d, add, packed_desc(d));
    return Conv{desc, Convolution(desc)};
  });
}

}  // namespace

Expected<AlignedBuffer> pack_conv2d(const Context&, const Conv2dDesc& d, const float* w) {
  AlignedBuffer packed;
  INTAGLIO_TRY(guarded("onednn_conv2d", [&]() -> Status {
    const dnnl::memory::desc target = packed_desc(d);
    const dnnl::memory::desc source({d.out_channels, d.in_channels, d.kernel, d.kernel},
                                    dnnl::memory::data_type::f32, Tag::oihw);
    INTAGLIO_ASSIGN(packed, AlignedBuffer::allocate(target.get_size()));
    dnnl::memory from = memory_at(source, w);
    dnnl::memory to = memory_at(target, packed.data());
    dnnl::reorder(from, to).execute(cpu_stream(), from, to);
    cpu_stream().wait();
    return {};
  }));
  return packed;
}

size_t conv2d_scratch_bytes(const Conv2dDesc& desc, int threads) {
  size_t bytes = 0;
  for (const bool add : {false, true}) {
    (void)guarded("onednn_conv2d", [&]() -> Status {
      const ThreadCount count(threads);
      bytes = std::max(bytes, find_conv(desc, add, threads)->desc.scratchpad_desc().get_size());
      return {};
    });
  }
  return bytes;
}

Status conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
              const void* x, const void* add, void* y) {
  return guarded("onednn_conv2d", [&]() -> Status {
    const ThreadCount count(context.threads);
    const auto conv = find_conv(desc, add != nullptr, context.threads);
    const auto scratchpad_desc = conv->desc.scratchpad_desc();
    Scratchpad scratchpad;
    INTAGLIO_TRY(scratchpad.reserve(context, scratchpad_desc.get_size()));
    if (add != nullptr && add != y) {  // the sum reads what lies in y
      const auto elements = static_cast<size_t>(desc.height * desc.width * desc.out_channels);
      std::memcpy(y, add, elements * dtype_size(desc.out_dtype()));
    }
    conv->primitive.execute(
        cpu_stream(),
        {{DNNL_ARG_SRC, memory_at(conv->desc.src_desc(), x)},
         {DNNL_ARG_WEIGHTS, memory_at(conv->desc.weights_desc(), weights.packed.data())},
         {DNNL_ARG_BIAS, memory_at(conv->desc.bias_desc(), weights.bias.data())},
         {DNNL_ARG_DST, memory_at(conv->desc.dst_desc(), y)},
         {DNNL_ARG_SCRATCHPAD, memory_at(scratchpad_desc, scratchpad.data())}});
    cpu_stream().wait();
    return {};
  });
}

}  // namespace intaglio::onednn
