/* A feed-forward network in bfloat16 whose weights fit into the cache (arXiv 2010.11929, section 3.1: "MLP"):
 * two linear layers with GELU between them, forward and backward.
 *
 * A block of tokens goes through all of it before the next one does. What is between the layers is only written
 * to memory for backward, once, before the GELU; each thread adds up gradients of the weights of its own, in
 * float32 (of more weights: `narrow_feed_forward_tiles.h`). How matrices are multiplied, the C file says which
 * includes this.
 */
#pragma once
#include "bfloat16_pairs.h"

#include <omp.h>
#include <string.h>

/* With fewer tokens for each thread, backward takes more time to add up what threads have than they save. */
enum { LEAST_TOKENS_OF_THREAD = 64 };

/* A linear layer, or its gradients. The weight is (outputs, inputs), multiples of what the C file says. */
typedef struct {
    bfloat16 *weight, *bias;
    int64_t outputs, inputs;
} layer;

/* Tokens that a thread takes at a time: at most so many, and such that all threads take as many blocks. */
static int64_t block_of(int64_t tokens, int64_t most) {
    int64_t threads = omp_get_num_threads(), blocks = threads * (tokens / (threads * most) + 1);
    return round_up(tokens / blocks + 1, TOKENS_TOGETHER);
}

static int64_t weights_of(const layer *l) { return l->outputs * l->inputs; }

static pair *new_packed_weight(const layer *l) { return (pair *)new_workspace(weights_of(l) / 2); }

/* For outputs from inputs, and for gradients of inputs from those of outputs; the threads share the work. */
static void pack_forward(const layer *l, pair *packed);

static void pack_backward(const layer *l, pair *packed);

/* Before a thread's first product, and after its last. */
static void start_products(void);

static void end_products(void);

/* Rows of bfloat16 times a packed weight. */
static void multiply_rows(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, destination to);

/* The same before the GELU, and behind it. */
static void multiply_rows_and_activate(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, const bfloat16 *bias,
    bfloat16 *preactivations, bfloat16 *activations);

/* The sums over tokens of the gradients of outputs times inputs, both as pairs of tokens, with room for
 * TOKENS_TOGETHER tokens and their multiples, are added to what is there, if `is_added`. */
static void multiply_tokens(
    int64_t tokens, int64_t outputs, pair *output_gradients, int64_t inputs, pair *input, float *sums,
    int is_added);

/* A layer's gradients, as a thread adds them up. Without any tokens they are nothing, which is not zero. */
typedef struct {
    float *weight, *bias;
} gradients;

static int64_t gradients_of(const layer *l) { return weights_of(l) + l->outputs; }

static gradients gradients_at(const layer *l, float *sums) {
    return (gradients){sums, sums + weights_of(l)};
}

static void clear_bias(const layer *l, gradients g) { memset(g.bias, 0, sizeof(float) * l->outputs); }

static void clear_weight(const layer *l, gradients g) { memset(g.weight, 0, sizeof(float) * weights_of(l)); }

static void add_rows(matrix x, int64_t width, float *sums) {
    for (int64_t column = 0; column < width; column += LANES) {
        __m512 sum = _mm512_load_ps(sums + column);
        for (int64_t row = 0; row < x.rows; row++)
            sum = _mm512_add_ps(sum, load(x.data + row * x.stride + column));
        _mm512_store_ps(sums + column, sum);
    }
}

/* Adds up what all threads have, whose sums are `each` numbers apart; the threads share the work. */
static void add_threads(const float *sums, int64_t each, int64_t count, bfloat16 *out) {
    int threads = omp_get_num_threads();
#pragma omp for schedule(static) nowait
    for (int64_t i = 0; i < count; i += LANES) {
        __m512 sum = _mm512_load_ps(sums + i);
        for (int thread = 1; thread < threads; thread++)
            sum = _mm512_add_ps(sum, _mm512_load_ps(sums + thread * each + i));
        store(out + i, sum);
    }
}

static void add_layer_of_threads(const layer *found, const float *sums, int64_t each) {
    add_threads(sums, each, weights_of(found), found->weight);
    add_threads(sums + weights_of(found), each, found->outputs, found->bias);
}

/* Phi, the standard normal distribution, so that gelu(x) = x Phi(x), and phi, its density.
 *
 * Phi(-|x|) = exp(-x^2 / 2) times a polynomial of 1 / (1 + p |x| / sqrt(2)) (Abramowitz and Stegun, Handbook
 * of Mathematical Functions, 7.1.26), to 1e-6, most of it of the exponential. Beyond 16, x stays 16. */
static inline __m512 normal_distribution(__m512 x, __m512 *density) {
    __m512 size = _mm512_min_ps(_mm512_abs_ps(x), _mm512_set1_ps(16.0f));
    __m512 power = power_of_two(_mm512_mul_ps(_mm512_mul_ps(size, size), _mm512_set1_ps(-0.5f * LOG2_E)));
    __m512 below = _mm512_fmadd_ps(size, _mm512_set1_ps(0.3275911f * 0.70710678f), _mm512_set1_ps(1.0f));
    __m512 t = _mm512_rcp14_ps(below);
    t = _mm512_mul_ps(t, _mm512_fnmadd_ps(below, t, _mm512_set1_ps(2.0f))); /* a step of Newton's */
    __m512 y = _mm512_set1_ps(0.5f * 1.061405429f);
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(0.5f * -1.453152027f));
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(0.5f * 1.421413741f));
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(0.5f * -0.284496736f));
    y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(0.5f * 0.254829592f));
    y = _mm512_mul_ps(_mm512_mul_ps(y, t), power);
    __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    *density = _mm512_mul_ps(power, _mm512_set1_ps(0.39894228f));
    return _mm512_mask_sub_ps(y, positive, _mm512_set1_ps(1.0f), y);
}

static inline __m512 gelu(__m512 x) {
    __m512 density;
    return _mm512_mul_ps(x, normal_distribution(x, &density));
}

/* gelu'(x) = Phi(x) + x phi(x), and gelu(x) itself. */
static inline __m512 slope_of_gelu(__m512 x, __m512 *activation) {
    __m512 density, distribution = normal_distribution(x, &density);
    *activation = _mm512_mul_ps(x, distribution);
    return _mm512_fmadd_ps(x, density, distribution);
}

/* Preactivations are written where there is memory for them. */
void feed_forward(
    int64_t tokens, const layer *first, const layer *second, const bfloat16 *input, bfloat16 *preactivations,
    bfloat16 *out) {
    int64_t width = first->inputs, hidden = first->outputs;
    pair *first_packed = new_packed_weight(first), *second_packed = new_packed_weight(second);
#pragma omp parallel
    {
        start_products();
        int64_t block = block_of(tokens, TOKENS);
        char *workspace = new_workspace(block * hidden), *rest = workspace;
        bfloat16 *activations = take(&rest, block * hidden / 2), *scratch = (bfloat16 *)rest;
        pack_forward(first, first_packed);
        pack_forward(second, second_packed);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < tokens; i += block) {
            int64_t these = least(block, tokens - i);
            bfloat16 *between = preactivations ? preactivations + i * hidden : scratch;
            destination to_out = {.bias = second->bias, .rounded = out + i * width};
            multiply_rows_and_activate(
                these, width, input + i * width, first_packed, hidden, first->bias, between, activations);
            multiply_rows(these, hidden, activations, second_packed, width, to_out);
        }
        free(workspace);
        end_products();
    }
    free(first_packed);
    free(second_packed);
}

/* What backward keeps of a block of tokens where weights are few; pairs are of two tokens, for the gradients of
 * the weights: output_pairs and hidden_pairs of gradients behind the layers, the others of what goes into them. */
typedef struct {
    float *activation_gradients;
    bfloat16 *preactivation_gradients;
    pair *hidden_pairs, *activation_pairs, *input_pairs, *output_pairs;
} block_of_tokens;

static char *new_block(int64_t tokens, int64_t width, int64_t hidden, block_of_tokens *block) {
    char *workspace = new_workspace(tokens * (5 * hidden / 2 + width)), *rest = workspace;
    block->activation_gradients = take(&rest, tokens * hidden);
    block->preactivation_gradients = take(&rest, tokens * hidden / 2);
    block->hidden_pairs = take(&rest, tokens * hidden / 2);
    block->activation_pairs = take(&rest, tokens * hidden / 2);
    block->input_pairs = take(&rest, tokens * width / 2);
    block->output_pairs = take(&rest, tokens * width / 2);
    return workspace;
}

/* The gradients before the GELU from those behind it. Adds them up, too. */
static void differentiate_gelu(
    int64_t tokens, int64_t hidden, const bfloat16 *preactivations, const block_of_tokens *block,
    float *bias_gradient) {
    for (int64_t column = 0; column < hidden; column += LANES) {
        __m512 sum = _mm512_load_ps(bias_gradient + column);
        for (int64_t token = 0; token < tokens; token += 2) {
            __m256i gradient[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            __m256i activation[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            for (int64_t i = 0; i < least(2, tokens - token); i++) {
                int64_t here = (token + i) * hidden + column;
                __m512 activated, slope = slope_of_gelu(load(preactivations + here), &activated);
                __m512 behind = _mm512_load_ps(block->activation_gradients + here);
                gradient[i] = to_bfloat16(_mm512_mul_ps(slope, behind));
                activation[i] = to_bfloat16(activated);
                sum = _mm512_add_ps(sum, to_float32(gradient[i]));
                _mm256_store_si256((__m256i *)(block->preactivation_gradients + here), gradient[i]);
            }
            int64_t here = token / 2 * hidden + column;
            _mm512_store_si512(block->hidden_pairs + here, interleave(gradient[0], gradient[1]));
            _mm512_store_si512(block->activation_pairs + here, interleave(activation[0], activation[1]));
        }
        _mm512_store_ps(bias_gradient + column, sum);
    }
}

/* Where weights are few, so that each thread has gradients of its own. */
void feed_forward_backward(
    int64_t tokens, const layer *first, const layer *second, const bfloat16 *output_gradients,
    const bfloat16 *input, const bfloat16 *preactivations, const layer *first_found, const layer *second_found,
    bfloat16 *input_gradients) {
    int64_t width = first->inputs, hidden = first->outputs;
    int64_t of_first = gradients_of(first), each = of_first + gradients_of(second);
    pair *first_packed = new_packed_weight(first), *second_packed = new_packed_weight(second);
    int64_t threads = least(omp_get_max_threads(), tokens / LEAST_TOKENS_OF_THREAD + 1);
    float *sums = (float *)new_workspace(each * threads);
#pragma omp parallel num_threads(threads)
    {
        start_products();
        int64_t most = block_of(tokens, TOKENS_BACKWARD);
        block_of_tokens block;
        char *workspace = new_block(most, width, hidden, &block);
        float *mine = sums + each * omp_get_thread_num();
        gradients to_first = gradients_at(first, mine), to_second = gradients_at(second, mine + of_first);
        int are_first = 1;
        clear_bias(first, to_first);
        clear_bias(second, to_second);
        pack_backward(first, first_packed);
        pack_backward(second, second_packed);
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < tokens; i += most) {
            int64_t these = least(most, tokens - i);
            matrix from = {(bfloat16 *)output_gradients + i * width, these, width};
            matrix inputs = {(bfloat16 *)input + i * width, these, width};
            destination to_hidden = {.sums = block.activation_gradients};
            destination to_input = {.rounded = input_gradients + i * width};
            multiply_rows(these, width, from.data, second_packed, hidden, to_hidden);
            differentiate_gelu(these, hidden, preactivations + i * hidden, &block, to_first.bias);
            multiply_rows(these, hidden, block.preactivation_gradients, first_packed, width, to_input);
            pack_rows(from, width, block.output_pairs);
            pack_rows(inputs, width, block.input_pairs);
            multiply_tokens(
                these, hidden, block.hidden_pairs, width, block.input_pairs, to_first.weight, !are_first);
            multiply_tokens(
                these, width, block.output_pairs, hidden, block.activation_pairs, to_second.weight, !are_first);
            add_rows(from, width, to_second.bias);
            are_first = 0;
        }
        if (are_first) {
            clear_weight(first, to_first);
            clear_weight(second, to_second);
        }
#pragma omp barrier
        add_layer_of_threads(first_found, sums, each);
        add_layer_of_threads(second_found, sums + of_first, each);
        free(workspace);
        end_products();
    }
    free(sums);
    free(first_packed);
    free(second_packed);
}
