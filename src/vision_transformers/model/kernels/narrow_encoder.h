/* A whole encoder in bfloat16 whose weights fit into the cache (arXiv 2010.11929, Equations 2 and 3).
 *
 * A few images at a time go through all of it before the next ones do. To memory goes what comes out, and for
 * backward alone (`narrow_encoder_backward.h`) what each softmax, product and GELU needs and is not soon computed
 * again. How matrices are multiplied and one head is computed, and in which type tokens are between encoders, the
 * C file says which includes this.
 */
#pragma once
#include "layer_norm.h"
#include "narrow_feed_forward.h"
#include "short_attention.h"

/* Of the images that are taken together: more use what is packed more often, fewer stay in the cache. */
enum { TOKENS_OF_IMAGES = 192 };

typedef struct {
    normalization attention_normalization, feed_forward_normalization;
    layer query_key_value, projection, input_layer, output_layer;
} encoder;

/* Of images, their tokens and heads. */
typedef struct {
    int64_t images, tokens, heads;
} encoder_sizes;

/* What is kept of images, for backward: queries, keys and values; what heads gathered; tokens after attention was
 * added; what is before the GELU; and the statistics of each row of scores. */
typedef struct {
    bfloat16 *query_key_value, *attended;
    stream_element *sequence;
    bfloat16 *preactivations;
    row_statistics *statistics;
} kept;

static kept kept_from(const kept *k, const encoder *e, const encoder_sizes *s, int64_t image) {
    int64_t token = image * s->tokens, width = e->projection.outputs;
    return (kept){
        k->query_key_value + token * 3 * width, k->attended + token * width, k->sequence + token * width,
        k->preactivations + token * e->input_layer.outputs, k->statistics + token * s->heads};
}

/* For so many images. */
static char *new_kept(const encoder *e, const encoder_sizes *s, int64_t images, kept *k) {
    int64_t tokens = images * s->tokens, width = e->projection.outputs, hidden = e->input_layer.outputs;
    int64_t of_token = 3 * width + hidden / 2 + 2 * s->heads;
    char *workspace = new_workspace(tokens * of_token + 5 * ALIGNMENT), *rest = workspace;
    k->query_key_value = take(&rest, tokens * 3 * width / 2);
    k->attended = take(&rest, tokens * width / 2);
    k->sequence = take(&rest, tokens * width);
    k->preactivations = take(&rest, tokens * hidden / 2);
    k->statistics = take(&rest, tokens * 2 * s->heads);
    return workspace;
}

/* Weights as products take them. */
typedef struct {
    pair *query_key_value, *projection, *input_layer, *output_layer;
} packed_weights;

static packed_weights new_packed_weights(const encoder *e) {
    return (packed_weights){
        new_packed_weight(&e->query_key_value), new_packed_weight(&e->projection),
        new_packed_weight(&e->input_layer), new_packed_weight(&e->output_layer)};
}

static void free_packed_weights(packed_weights p) {
    free(p.query_key_value);
    free(p.projection);
    free(p.input_layer);
    free(p.output_layer);
}

/* Such that all threads take as many blocks of images. */
static int64_t images_at_once(const encoder_sizes *s) {
    int64_t threads = omp_get_num_threads(), most = TOKENS_OF_IMAGES / s->tokens + 1;
    int64_t blocks = threads * ((s->images + threads * most - 1) / (threads * most));
    return blocks ? (s->images + blocks - 1) / blocks : 1;
}

static sizes sizes_of_heads(const encoder *e, const encoder_sizes *s) {
    int64_t dimension = e->projection.inputs / s->heads;
    return (sizes){s->images, s->heads, s->tokens, dimension, 1.0f / sqrtf(dimension)};
}

/* One head of one image, of `parts` that lie side by side in a token. */
static matrix head_at(
    const bfloat16 *data, const encoder_sizes *s, int64_t width, int64_t parts, int64_t part, int64_t image,
    int64_t head) {
    int64_t place = image * s->tokens * parts * width + part * width + head * (width / s->heads);
    return (matrix){(bfloat16 *)data + place, s->tokens, parts * width};
}

static void attend_images(const encoder *e, const encoder_sizes *s, int64_t images, kept k, char *workspace) {
    sizes of_heads = sizes_of_heads(e, s);
    int64_t width = e->projection.inputs;
    for (int64_t image = 0; image < images; image++)
        for (int64_t head = 0; head < s->heads; head++)
            attend_head(
                &of_heads, head_at(k.query_key_value, s, width, 3, 0, image, head),
                head_at(k.query_key_value, s, width, 3, 1, image, head),
                head_at(k.query_key_value, s, width, 3, 2, image, head),
                head_at(k.attended, s, width, 1, 0, image, head),
                k.statistics + (image * s->heads + head) * s->tokens, workspace);
}

/* The residual sum: a product with its bias is added to tokens. */
static void add_branch(
    int64_t tokens, int64_t width, const stream_element *input, const float *product, const bfloat16 *bias,
    stream_element *out) {
    for (int64_t token = 0; token < tokens; token++)
        for (int64_t i = 0; i < width; i += LANES) {
            int64_t here = token * width + i;
            __m512 branch = _mm512_add_ps(_mm512_load_ps(product + here), load(bias + i));
            store_stream(out + here, _mm512_add_ps(load_stream(input + here), branch));
        }
}

/* What a thread has of its images forward. */
typedef struct {
    bfloat16 *normalized, *activations;
    float *product;
    token_statistics *statistics;
} forward_block;

static char *new_forward_block(const encoder *e, int64_t tokens, forward_block *block) {
    int64_t width = e->projection.outputs, hidden = e->input_layer.outputs;
    char *workspace = new_workspace(tokens * (3 * width / 2 + hidden / 2 + 2) + ALIGNMENT), *rest = workspace;
    block->normalized = take(&rest, tokens * width / 2);
    block->activations = take(&rest, tokens * hidden / 2);
    block->product = take(&rest, tokens * width);
    block->statistics = take(&rest, tokens * 2);
    return workspace;
}

static void encode_images(
    const encoder *e, const packed_weights *p, const encoder_sizes *s, int64_t images, const stream_element *input,
    kept k, stream_element *out, const forward_block *block, char *workspace) {
    int64_t tokens = images * s->tokens, width = e->projection.outputs, hidden = e->input_layer.outputs;
    destination to_query_key_value = {.bias = e->query_key_value.bias, .rounded = k.query_key_value};
    destination to_product = {.sums = block->product};
    normalize_tokens(
        tokens, width, &e->attention_normalization, input, block->normalized, block->statistics);
    multiply_rows(tokens, width, block->normalized, p->query_key_value, 3 * width, to_query_key_value);
    attend_images(e, s, images, k, workspace);
    multiply_rows(tokens, width, k.attended, p->projection, width, to_product);
    add_branch(tokens, width, input, block->product, e->projection.bias, k.sequence);
    normalize_tokens(
        tokens, width, &e->feed_forward_normalization, k.sequence, block->normalized, block->statistics);
    multiply_rows_and_activate(
        tokens, width, block->normalized, p->input_layer, hidden, e->input_layer.bias, k.preactivations,
        block->activations);
    multiply_rows(tokens, hidden, block->activations, p->output_layer, width, to_product);
    add_branch(tokens, width, k.sequence, block->product, e->output_layer.bias, out);
}

/* Nothing is kept where there is no memory to keep it in. */
void encode(
    const encoder *e, const encoder_sizes *s, const stream_element *input, const kept *k, stream_element *out) {
    packed_weights p = new_packed_weights(e);
    sizes of_heads = sizes_of_heads(e, s);
    int64_t of_image = s->tokens * e->projection.outputs;
#pragma omp parallel
    {
        char *workspace = start_thread(&of_heads);
        int64_t most = images_at_once(s);
        forward_block block;
        char *room = new_forward_block(e, most * s->tokens, &block);
        kept of_thread;
        char *kept_room = k->statistics ? NULL : new_kept(e, s, most, &of_thread);
        pack_forward(&e->query_key_value, p.query_key_value);
        pack_forward(&e->projection, p.projection);
        pack_forward(&e->input_layer, p.input_layer);
        pack_forward(&e->output_layer, p.output_layer);
#pragma omp for schedule(dynamic)
        for (int64_t image = 0; image < s->images; image += most)
            encode_images(
                e, &p, s, least(most, s->images - image), input + image * of_image,
                kept_room ? of_thread : kept_from(k, e, s, image), out + image * of_image, &block, workspace);
        free(kept_room);
        free(room);
        end_thread(workspace);
    }
    free_packed_weights(p);
}
