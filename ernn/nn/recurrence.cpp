// An LSTM's and a GRU's loop over time and its gradient, on a processor.
//
// A frame's product (sequences x hidden by hidden x gates) is small and its matrix stays in the
// cache; torch's own kernels spend most of their time around it. Here the matrix is packed once a
// call, and each thread takes its sequences through all frames.
//
// P is the type of the products' factors, of the gates and of the outputs. S is that of the sums
// and of the state s: float with bfloat16 and float factors, else double.
//
//   u (T, B, G H)        the input's part of the pre-activations, with its bias
//   W (G H, H)           the recurrent matrix of G gates
//   y (T + 1, B, H)      outputs h, and the one before the first frame; in P
//   states (T + 1, B, H) s: the cell of an LSTM, h itself of a GRU; in S
//   kept (T, B, 4 H)     what the gradient needs of each frame; in P

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

using at::Tensor;
namespace blas = at::native::cpublas;

constexpr int64_t kLeastSequences = 8;  // of a thread: a product of fewer takes as long

template <class P>
using Sum = std::conditional_t<std::is_same_v<P, double>, double, float>;

// C (rows, N) = A (rows, K) B, for many A; the rows of A are `stride` apart.
template <class P>
class Product {
 public:
  explicit Product(const Tensor& B) : K_(B.size(0)), N_(B.size(1)) {
    if constexpr (kPairs)  // two rows side by side, as the dot products of processors take them
      B_ = B.reshape({K_ / 2, 2, N_}).transpose(1, 2).contiguous();
    else
      B_ = B.detach().contiguous();
  }

  void operator()(int64_t rows, P* A, int64_t stride, Sum<P>* C) const {
    if constexpr (kBlocked) {
      blas::brgemm(rows, N_, K_, stride, N_, N_, false, A, B_.const_data_ptr<P>(), C, kPairs);
    } else {
      Tensor out = at::from_blob(C, {rows, N_}, B_.options());
      at::mm_out(out, at::from_blob(A, {rows, K_}, {stride, 1}, B_.options()), B_);
    }
  }

  // Every thread that multiplied calls this at its end.
  void release() const {
    if constexpr (kBlocked) blas::brgemm_release(kPairs);
  }

 private:
  static constexpr bool kPairs = std::is_same_v<P, at::BFloat16>;
  static constexpr bool kBlocked = !std::is_same_v<P, double>;
  int64_t K_, N_;
  Tensor B_;
};

inline double exponential(double x) { return std::exp(x); }

// Within 2 units in the last place of e^x, in operations that a compiler vectorizes (Cephes, expf).
inline float exponential(float x) {
  constexpr float round = 0x1.8p23f;  // what is added to it becomes a whole number
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = (x * 1.44269504f + round) - round;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n ln 2
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

template <class S>
inline S sigmoid(S x) {
  return S(1) / (S(1) + exponential(-x));
}

template <class S>
inline S tanh(S x) {
  return S(2) * sigmoid(S(2) * x) - S(1);
}

// A cell's frame of one sequence. `forward` has the sums h W^T, `backward` the gradient dh of h; ds
// comes in as that of s and goes out as that of the s before. d (4 H) are the gradients of the
// pre-activations, first those of the sums.

// Gates i, f, g, o; kept are they.
struct Lstm {
  static constexpr int64_t gates = 4;

  template <class P, class S>
  static void forward(int64_t H, const P* u, const S* sums, const S* bias, const S* before, S* s,
                      P* kept, P* y) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S i = sigmoid(S(u[j]) + sums[j] + bias[j]);
      const S f = sigmoid(S(u[H + j]) + sums[H + j] + bias[H + j]);
      const S g = tanh(S(u[2 * H + j]) + sums[2 * H + j] + bias[2 * H + j]);
      const S o = sigmoid(S(u[3 * H + j]) + sums[3 * H + j] + bias[3 * H + j]);
      const S c = f * before[j] + i * g;
      kept[j] = P(i);
      kept[H + j] = P(f);
      kept[2 * H + j] = P(g);
      kept[3 * H + j] = P(o);
      s[j] = c;
      y[j] = P(o * tanh(c));
    }
  }

  template <class P, class S>
  static void backward(int64_t H, const S* dh, const S* before, const S* s, const P* kept, S* ds,
                       P* d) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S i = S(kept[j]), f = S(kept[H + j]), g = S(kept[2 * H + j]), o = S(kept[3 * H + j]);
      const S squashed = tanh(s[j]);
      const S dc = ds[j] + dh[j] * o * (S(1) - squashed * squashed);
      d[j] = P(dc * g * i * (S(1) - i));
      d[H + j] = P(dc * before[j] * f * (S(1) - f));
      d[2 * H + j] = P(dc * i * (S(1) - g * g));
      d[3 * H + j] = P(dh[j] * squashed * o * (S(1) - o));
      ds[j] = dc * f;
    }
  }
};

// Gates r, z, n, the reset after the matrix; kept are they and q, what the reset acts on.
struct Gru {
  static constexpr int64_t gates = 3;

  template <class P, class S>
  static void forward(int64_t H, const P* u, const S* sums, const S* bias, const S* before, S* s,
                      P* kept, P* y) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S r = sigmoid(S(u[j]) + sums[j] + bias[j]);
      const S z = sigmoid(S(u[H + j]) + sums[H + j] + bias[H + j]);
      const S q = sums[2 * H + j] + bias[2 * H + j];
      const S n = tanh(S(u[2 * H + j]) + r * q);
      const S h = n + z * (before[j] - n);
      kept[j] = P(r);
      kept[H + j] = P(z);
      kept[2 * H + j] = P(n);
      kept[3 * H + j] = P(q);
      s[j] = h;
      y[j] = P(h);
    }
  }

  template <class P, class S>
  static void backward(int64_t H, const S* dh, const S* before, const S*, const P* kept, S* ds, P* d) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S r = S(kept[j]), z = S(kept[H + j]), n = S(kept[2 * H + j]), q = S(kept[3 * H + j]);
      const S whole = dh[j] + ds[j];  // by the products and by the state itself
      const S dn = whole * (S(1) - z) * (S(1) - n * n);
      d[j] = P(dn * q * r * (S(1) - r));
      d[H + j] = P(whole * (before[j] - n) * z * (S(1) - z));
      d[2 * H + j] = P(dn * r);  // of q
      d[3 * H + j] = P(dn);      // of u
      ds[j] = whole * z;
    }
  }
};

template <class Cell, class P>
void forward(const Tensor& u_, const Tensor& W, const Tensor& bias_, Tensor& y_, Tensor& states_,
             Tensor& kept_) {
  using S = Sum<P>;
  const int64_t T = u_.size(0), B = u_.size(1), H = W.size(1), G = Cell::gates;
  const P* u = u_.const_data_ptr<P>();
  const S* bias = bias_.const_data_ptr<S>();
  P *y = y_.data_ptr<P>(), *kept = kept_.data_ptr<P>();
  S* states = states_.data_ptr<S>();
  const Product<P> product(W.t());
  at::parallel_for(0, B, kLeastSequences, [&](int64_t first, int64_t end) {
    std::vector<S> sums((end - first) * G * H);
    for (int64_t t = 0; t < T; ++t) {
      product(end - first, y + (t * B + first) * H, H, sums.data());
      for (int64_t b = first; b < end; ++b) {
        const int64_t row = t * B + b, after = row + B;
        Cell::forward(H, u + row * G * H, sums.data() + (b - first) * G * H, bias,
                      states + row * H, states + after * H, kept + row * 4 * H, y + after * H);
      }
    }
    product.release();
  });
}

template <class Cell, class P>
void backward(const Tensor& dy_, const Tensor& W, const Tensor& states_, const Tensor& kept_,
              Tensor& d_, Tensor& dh_, Tensor& ds_) {
  using S = Sum<P>;
  const int64_t T = dy_.size(0), B = dy_.size(1), H = W.size(1);
  const P *dy = dy_.const_data_ptr<P>(), *kept = kept_.const_data_ptr<P>();
  const S* states = states_.const_data_ptr<S>();
  P* d = d_.data_ptr<P>();
  S *dh = dh_.data_ptr<S>(), *ds = ds_.data_ptr<S>();
  const Product<P> product(W);
  at::parallel_for(0, B, kLeastSequences, [&](int64_t first, int64_t end) {
    for (int64_t t = T - 1; t >= 0; --t) {
      for (int64_t b = first; b < end; ++b) {
        const int64_t row = t * B + b, after = row + B;
        for (int64_t j = 0; j < H; ++j) dh[b * H + j] += S(dy[row * H + j]);
        Cell::backward(H, dh + b * H, states + row * H, states + after * H, kept + row * 4 * H,
                       ds + b * H, d + row * 4 * H);
      }
      product(end - first, d + (t * B + first) * 4 * H, 4 * H, dh + first * H);
    }
    product.release();
  });
}

// Call function<Cell, P> for a cell by its name and a type by its number.
#define DISPATCH(cell, type, function, ...)                                                   \
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, type, #function, [&] {                        \
    cell == "lstm" ? function<Lstm, scalar_t>(__VA_ARGS__) : function<Gru, scalar_t>(__VA_ARGS__); \
  })

std::tuple<Tensor, Tensor, Tensor> run_forward(const std::string& cell, const Tensor& u,
                                               const Tensor& h, const Tensor& s, const Tensor& W,
                                               const Tensor& bias) {
  const int64_t T = u.size(0), B = u.size(1), H = W.size(1);
  Tensor y = at::empty({T + 1, B, H}, u.options());
  Tensor states = at::empty({T + 1, B, H}, s.options());
  Tensor kept = at::empty({T, B, 4 * H}, u.options());
  y[0].copy_(h);
  states[0].copy_(s);
  DISPATCH(cell, u.scalar_type(), forward, u, W, bias, y, states, kept);
  return {y, states, kept};
}

std::tuple<Tensor, Tensor, Tensor> run_backward(const std::string& cell, const Tensor& dy,
                                                const Tensor& ds_last, const Tensor& W,
                                                const Tensor& states, const Tensor& kept) {
  Tensor d = at::empty_like(kept), ds = ds_last.clone(), dh = at::zeros_like(ds);
  DISPATCH(cell, dy.scalar_type(), backward, dy, W, states, kept, d, dh, ds);
  return {d, dh, ds};
}

TORCH_LIBRARY(ernn, library) {
  library.def("recurrence", &run_forward);
  library.def("recurrence_backward", &run_backward);
}

}  // namespace
