// An LSTM's and a GRU's loop over time and its gradient, on a processor.
//
// A frame's product (sequences x hidden by hidden x gates) is small and its matrix stays in the
// cache; torch's own kernels spend most of their time around it. Here the matrix is packed once a
// call, and each thread takes its sequences through all frames.
//
// P is the type of the products' factors, of the gates and of the outputs. S is that of the sums
// and of the state s: float with bfloat16 and float factors, else double.
//
// The recurrent matrix has M parts: itself, or the two halves of a block-circulant one
// (ernn.circulant.to_halves), which multiply the sum and the difference of the halves of a vector;
// the sum and the difference of what they give are the halves of the product. "Folded" is a vector
// in these M parts, of every gate on its own.
//
//   u (M, T, B, G H / M)   the input's part of the pre-activations, with its bias; folded
//   W (M, G H / M, H / M)  the recurrent matrix of G gates
//   y (T + 1, B, H)        outputs h, and the one before the first frame; in P
//   states (T + 1, B, H)   s: the cell of an LSTM, h itself of a GRU; in S
//   kept (T, B, 4 H)       what the gradient needs of each frame; in P
//   d (M, T, B, 4 H / M)   gradients of the pre-activations, first those of the sums; folded, in P

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
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

// Of every gate, sums and differences of halves: y[j] = x[j] + x[j + x_other], y[j + y_other] their
// difference. The gates are `x_gate` and `y_gate` apart.
template <class X, class Y>
inline void butterfly(int64_t gates, int64_t half, const X* x, int64_t x_gate, int64_t x_other,
                      Y* y, int64_t y_gate, int64_t y_other) {
  for (int64_t g = 0; g < gates; ++g) {
    const X* a = x + g * x_gate;
    Y* b = y + g * y_gate;
#pragma GCC ivdep
    for (int64_t j = 0; j < half; ++j) {
      const Sum<X> low = a[j], high = a[j + x_other];
      b[j] = Y(low + high);
      b[j + y_other] = Y(low - high);
    }
  }
}

// Fold `gates` vectors of H; the M parts of the result are `stride` apart.
template <class X, class Y>
inline void fold(int64_t M, int64_t gates, int64_t H, const X* x, Y* parts, int64_t stride) {
  if (M == 1)
    std::copy(x, x + gates * H, parts);
  else
    butterfly(gates, H / 2, x, H, H / 2, parts, H / 2, stride);
}

template <class X, class Y>
inline void unfold(int64_t M, int64_t gates, int64_t H, const X* parts, int64_t stride, Y* y) {
  if (M == 1)
    std::copy(parts, parts + gates * H, y);
  else
    butterfly(gates, H / 2, parts, H / 2, stride, y, H, H / 2);
}

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
  static void forward(int64_t H, const S* u, const S* sums, const S* bias, const S* before, S* s,
                      P* kept, P* y) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S i = sigmoid(u[j] + sums[j] + bias[j]);
      const S f = sigmoid(u[H + j] + sums[H + j] + bias[H + j]);
      const S g = tanh(u[2 * H + j] + sums[2 * H + j] + bias[2 * H + j]);
      const S o = sigmoid(u[3 * H + j] + sums[3 * H + j] + bias[3 * H + j]);
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
                       S* d) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S i = S(kept[j]), f = S(kept[H + j]), g = S(kept[2 * H + j]), o = S(kept[3 * H + j]);
      const S squashed = tanh(s[j]);
      const S dc = ds[j] + dh[j] * o * (S(1) - squashed * squashed);
      d[j] = dc * g * i * (S(1) - i);
      d[H + j] = dc * before[j] * f * (S(1) - f);
      d[2 * H + j] = dc * i * (S(1) - g * g);
      d[3 * H + j] = dh[j] * squashed * o * (S(1) - o);
      ds[j] = dc * f;
    }
  }
};

// Gates r, z, n, the reset after the matrix; kept are they and q, what the reset acts on.
struct Gru {
  static constexpr int64_t gates = 3;

  template <class P, class S>
  static void forward(int64_t H, const S* u, const S* sums, const S* bias, const S* before, S* s,
                      P* kept, P* y) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S r = sigmoid(u[j] + sums[j] + bias[j]);
      const S z = sigmoid(u[H + j] + sums[H + j] + bias[H + j]);
      const S q = sums[2 * H + j] + bias[2 * H + j];
      const S n = tanh(u[2 * H + j] + r * q);
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
  static void backward(int64_t H, const S* dh, const S* before, const S*, const P* kept, S* ds,
                       S* d) {
#pragma GCC ivdep
    for (int64_t j = 0; j < H; ++j) {
      const S r = S(kept[j]), z = S(kept[H + j]), n = S(kept[2 * H + j]), q = S(kept[3 * H + j]);
      const S whole = dh[j] + ds[j];  // by the products and by the state itself
      const S dn = whole * (S(1) - z) * (S(1) - n * n);
      d[j] = dn * q * r * (S(1) - r);
      d[H + j] = whole * (before[j] - n) * z * (S(1) - z);
      d[2 * H + j] = dn * r;  // of q
      d[3 * H + j] = dn;      // of u
      ds[j] = whole * z;
    }
  }
};

template <class P>
std::vector<Product<P>> products(const Tensor& parts) {
  std::vector<Product<P>> all;
  for (const Tensor& part : parts.unbind()) all.emplace_back(part);
  return all;
}

template <class Cell, class P>
void forward(const Tensor& u_, const Tensor& W, const Tensor& bias_, Tensor& y_, Tensor& states_,
             Tensor& kept_) {
  using S = Sum<P>;
  const int64_t M = u_.size(0), T = u_.size(1), B = u_.size(2), N = W.size(2), H = M * N;
  constexpr int64_t G = Cell::gates;
  const P* u = u_.const_data_ptr<P>();
  const S* bias = bias_.const_data_ptr<S>();
  P *y = y_.data_ptr<P>(), *kept = kept_.data_ptr<P>();
  S* states = states_.data_ptr<S>();
  const auto by_W = products<P>(W.mT());
  at::parallel_for(0, B, kLeastSequences, [&](int64_t first, int64_t end) {
    const int64_t rows = end - first;
    std::vector<P> h(rows * H);                // (M, rows, N)
    std::vector<S> sums(rows * G * H);         // (M, rows, G N)
    std::vector<S> inputs(G * H), sum(G * H);  // of one sequence, not folded
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t b = 0; b < rows; ++b)
        fold(M, 1, H, y + (t * B + first + b) * H, h.data() + b * N, rows * N);
      for (int64_t m = 0; m < M; ++m)
        by_W[m](rows, h.data() + m * rows * N, N, sums.data() + m * rows * G * N);
      for (int64_t b = 0; b < rows; ++b) {
        const int64_t row = t * B + first + b, after = row + B;
        unfold(M, G, H, u + row * G * N, T * B * G * N, inputs.data());
        unfold(M, G, H, sums.data() + b * G * N, rows * G * N, sum.data());
        Cell::forward(H, inputs.data(), sum.data(), bias, states + row * H, states + after * H,
                      kept + row * 4 * H, y + after * H);
      }
    }
    for (const auto& product : by_W) product.release();
  });
}

template <class Cell, class P>
void backward(const Tensor& dy_, const Tensor& W, const Tensor& states_, const Tensor& kept_,
              Tensor& d_, Tensor& dh_, Tensor& ds_) {
  using S = Sum<P>;
  const int64_t M = W.size(0), T = dy_.size(0), B = dy_.size(1), N = W.size(2), H = M * N;
  const P *dy = dy_.const_data_ptr<P>(), *kept = kept_.const_data_ptr<P>();
  const S* states = states_.const_data_ptr<S>();
  P* d = d_.data_ptr<P>();
  S *dh = dh_.data_ptr<S>(), *ds = ds_.data_ptr<S>();
  const auto by_W = products<P>(W);
  at::parallel_for(0, B, kLeastSequences, [&](int64_t first, int64_t end) {
    const int64_t rows = end - first;
    std::vector<S> gradients(4 * H);    // of one sequence, not folded
    std::vector<S> dh_parts(rows * H);  // (M, rows, N)
    for (int64_t t = T - 1; t >= 0; --t) {
      for (int64_t b = first; b < end; ++b) {
        const int64_t row = t * B + b, after = row + B;
        for (int64_t j = 0; j < H; ++j) dh[b * H + j] += S(dy[row * H + j]);
        Cell::backward(H, dh + b * H, states + row * H, states + after * H, kept + row * 4 * H,
                       ds + b * H, gradients.data());
        fold(M, 4, H, gradients.data(), d + row * 4 * N, T * B * 4 * N);
      }
      for (int64_t m = 0; m < M; ++m)
        by_W[m](rows, d + ((m * T + t) * B + first) * 4 * N, 4 * N, dh_parts.data() + m * rows * N);
      for (int64_t b = 0; b < rows; ++b)
        unfold(M, 1, H, dh_parts.data() + b * N, rows * N, dh + (first + b) * H);
    }
    for (const auto& product : by_W) product.release();
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
  const int64_t T = u.size(1), B = u.size(2), H = h.size(1);
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
  const int64_t M = W.size(0), T = dy.size(0), B = dy.size(1), N = W.size(2);
  Tensor d = at::empty({M, T, B, 4 * N}, kept.options());
  Tensor ds = ds_last.clone(), dh = at::zeros_like(ds);
  DISPATCH(cell, dy.scalar_type(), backward, dy, W, states, kept, d, dh, ds);
  return {d, dh, ds};
}

TORCH_LIBRARY(ernn, library) {
  library.def("recurrence", &run_forward);
  library.def("recurrence_backward", &run_backward);
}

}  // namespace
