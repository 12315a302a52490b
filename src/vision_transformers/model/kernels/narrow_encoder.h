/* A whole encoder in bfloat16 whose weights fit into the cache (arXiv 2010.11929, Equations 2 and 3), forward and
 * backward.
 *
 * A few images at a time go through all of it before the next ones do. To memory goes what comes out, and for
 * backward alone what each softmax, product and GELU needs and is not soon computed again. Each thread adds up
 * gradients of the weights of its own, in float32. How matrices are multiplied and one head is computed, and in
 * which type tokens are between encoders, the C file says which includes this.
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

/* What is kept of images, and what backward needs of them: queries, keys and values; what heads gathered; tokens after attention was added;
 * what is before the GELU; and of each row of scores, its statistics. */
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

static void attend_images_backward(
    const encoder *e, const encoder_sizes *s, int64_t images, kept k, const bfloat16 *gradients, bfloat16 *found,
    char *workspace) {
    sizes of_heads = sizes_of_heads(e, s);
    int64_t width = e->projection.inputs;
    for (int64_t image = 0; image < images; image++)
        for (int64_t head = 0; head < s->heads; head++)
            attend_head_backward(
                &of_heads, head_at(k.query_key_value, s, width, 3, 0, image, head),
                head_at(k.query_key_value, s, width, 3, 1, image, head),
                head_at(k.query_key_value, s, width, 3, 2, image, head),
                head_at(k.attended, s, width, 1, 0, image, head),
                head_at(gradients, s, width, 1, 0, image, head),
                k.statistics + (image * s->heads + head) * s->tokens,
                head_at(found, s, width, 3, 0, image, head), head_at(found, s, width, 3, 1, image, head),
                head_at(found, s, width, 3, 2, image, head), workspace);
}

static void normalize_block(
    int64_t tokens, int64_t width, const normalization *n, const stream_element *input, bfloat16 *out,
    token_statistics *statistics) {
    for (int64_t token = 0; token < tokens; token += TOKENS_AT_ONCE) {
        int64_t here = token * width;
        normalize_tokens(
            least(tokens - token, TOKENS_AT_ONCE), width, n, input + here, out + here, statistics + token);
    }
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
    normalize_block(
        tokens, width, &e->attention_normalization, input, block->normalized, block->statistics);
    multiply_rows(tokens, width, block->normalized, p->query_key_value, 3 * width, to_query_key_value);
    attend_images(e, s, images, k, workspace);
    multiply_rows(tokens, width, k.attended, p->projection, width, to_product);
    add_branch(tokens, width, input, block->product, e->projection.bias, k.sequence);
    normalize_block(
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

/* Where the gradients of an encoder's weights are added up, one after another. */
typedef struct {
    gradients query_key_value, projection, input_layer, output_layer;
    float *attention_normalization, *feed_forward_normalization; /* of the weight, then of the bias */
} encoder_gradients;

static int64_t gradients_of_encoder(const encoder *e) {
    return gradients_of(&e->query_key_value) + gradients_of(&e->projection) + gradients_of(&e->input_layer) +
           gradients_of(&e->output_layer) + 4 * e->projection.outputs;
}

static gradients take_gradients(const layer *l, float **sums) {
    gradients taken = gradients_at(l, *sums);
    *sums += gradients_of(l);
    return taken;
}

static encoder_gradients encoder_gradients_at(const encoder *e, float *sums) {
    encoder_gradients g;
    g.query_key_value = take_gradients(&e->query_key_value, &sums);
    g.projection = take_gradients(&e->projection, &sums);
    g.input_layer = take_gradients(&e->input_layer, &sums);
    g.output_layer = take_gradients(&e->output_layer, &sums);
    g.attention_normalization = sums;
    g.feed_forward_normalization = sums + 2 * e->projection.outputs;
    return g;
}

/* What a thread has of its images backward. */
typedef struct {
    block_of_tokens feed_forward;
    bfloat16 *normalized, *normalized_gradients, *attended_gradients, *query_key_value_gradients, *rounded;
    stream_element *sequence_gradients;
    pair *left_pairs, *right_pairs;
    token_statistics *statistics;
} backward_block;

static char *new_backward_block(const encoder *e, int64_t tokens, backward_block *block) {
    int64_t width = e->projection.outputs;
    char *workspace = new_workspace(tokens * (13 * width / 2 + 2) + 9 * ALIGNMENT), *rest = workspace;
    block->normalized = take(&rest, tokens * width / 2);
    block->normalized_gradients = take(&rest, tokens * width / 2);
    block->attended_gradients = take(&rest, tokens * width / 2);
    block->query_key_value_gradients = take(&rest, tokens * 3 * width / 2);
    block->rounded = take(&rest, tokens * width / 2);
    block->sequence_gradients = take(&rest, tokens * width);
    block->left_pairs = take(&rest, tokens * 3 * width / 2); /* of the widest layer behind, and before */
    block->right_pairs = take(&rest, tokens * width / 2);
    block->statistics = take(&rest, tokens * 2);
    return workspace;
}

/* The gradients of a layer's weight and bias, from those behind it and what went into it. */
static void add_gradients(
    int64_t tokens, const layer *l, const bfloat16 *behind, const bfloat16 *input, const backward_block *block,
    gradients to, int is_added) {
    matrix gradients = {(bfloat16 *)behind, tokens, l->outputs}, inputs = {(bfloat16 *)input, tokens, l->inputs};
    pack_rows(gradients, l->outputs, block->left_pairs);
    pack_rows(inputs, l->inputs, block->right_pairs);
    multiply_tokens(tokens, l->outputs, block->left_pairs, l->inputs, block->right_pairs, to.weight, is_added);
    add_rows(gradients, l->outputs, to.bias);
}

static void differentiate_normalization(
    int64_t tokens, int64_t width, const normalization *n, const stream_element *input, const stream_element *past,
    const backward_block *block, stream_element *found, float *sums) {
    for (int64_t token = 0; token < tokens; token += TOKENS_AT_ONCE) {
        int64_t here = token * width;
        differentiate_tokens(
            least(tokens - token, TOKENS_AT_ONCE), width, block->normalized_gradients + here, input + here,
            block->statistics + token, n->weight, past + here, found + here, sums, sums + width);
    }
}

static void differentiate_feed_forward(
    const encoder *e, const packed_weights *p, int64_t tokens, const stream_element *behind, kept k,
    const backward_block *block, const encoder_gradients *to, int is_added) {
    int64_t width = e->projection.outputs, hidden = e->input_layer.outputs;
    const block_of_tokens *between = &block->feed_forward;
    const bfloat16 *rounded = as_bfloat16(behind, tokens * width, block->rounded);
    matrix inputs = {block->normalized, tokens, width};
    multiply_rows(
        tokens, width, rounded, p->output_layer, hidden, (destination){.sums = between->activation_gradients});
    differentiate_gelu(tokens, hidden, k.preactivations, between, to->input_layer.bias);
    multiply_rows(
        tokens, hidden, between->preactivation_gradients, p->input_layer, width,
        (destination){.rounded = block->normalized_gradients});
    normalize_block(
        tokens, width, &e->feed_forward_normalization, k.sequence, block->normalized, block->statistics);
    pack_rows(inputs, width, block->right_pairs);
    multiply_tokens(
        tokens, hidden, between->hidden_pairs, width, block->right_pairs, to->input_layer.weight, is_added);
    matrix outputs = {(bfloat16 *)rounded, tokens, width};
    pack_rows(outputs, width, block->left_pairs);
    multiply_tokens(
        tokens, width, block->left_pairs, hidden, between->activation_pairs, to->output_layer.weight, is_added);
    add_rows(outputs, width, to->output_layer.bias);
    differentiate_normalization(
        tokens, width, &e->feed_forward_normalization, k.sequence, behind, block, block->sequence_gradients,
        to->feed_forward_normalization);
}

static void differentiate_attention(
    const encoder *e, const packed_weights *p, const encoder_sizes *s, int64_t images, const stream_element *input,
    kept k, const backward_block *block, const encoder_gradients *to, int is_added, stream_element *found,
    char *workspace) {
    int64_t tokens = images * s->tokens, width = e->projection.outputs;
    const bfloat16 *rounded = as_bfloat16(block->sequence_gradients, tokens * width, block->rounded);
    multiply_rows(
        tokens, width, rounded, p->projection, width, (destination){.rounded = block->attended_gradients});
    add_gradients(tokens, &e->projection, rounded, k.attended, block, to->projection, is_added);
    attend_images_backward(
        e, s, images, k, block->attended_gradients, block->query_key_value_gradients, workspace);
    multiply_rows(
        tokens, 3 * width, block->query_key_value_gradients, p->query_key_value, width,
        (destination){.rounded = block->normalized_gradients});
    normalize_block(
        tokens, width, &e->attention_normalization, input, block->normalized, block->statistics);
    add_gradients(
        tokens, &e->query_key_value, block->query_key_value_gradients, block->normalized, block,
        to->query_key_value, is_added);
    differentiate_normalization(
        tokens, width, &e->attention_normalization, input, block->sequence_gradients, block, found,
        to->attention_normalization);
}

static void clear(const encoder *e, const encoder_gradients *to) {
    clear_bias(&e->query_key_value, to->query_key_value);
    clear_bias(&e->projection, to->projection);
    clear_bias(&e->input_layer, to->input_layer);
    clear_bias(&e->output_layer, to->output_layer);
    memset(to->attention_normalization, 0, 4 * e->projection.outputs * sizeof(float));
}

static void clear_weights(const encoder *e, const encoder_gradients *to) {
    clear_weight(&e->query_key_value, to->query_key_value);
    clear_weight(&e->projection, to->projection);
    clear_weight(&e->input_layer, to->input_layer);
    clear_weight(&e->output_layer, to->output_layer);
}

/* `found` has gradients in the place of weights, but those of LayerNorms, `found_of_normalizations`, which are of
 * weight and bias of the first, then of the second. */
void encode_backward(
    const encoder *e, const encoder_sizes *s, const stream_element *behind, const stream_element *input,
    const kept *k, const encoder *found, float *found_of_normalizations, stream_element *input_gradients) {
    packed_weights p = new_packed_weights(e);
    sizes of_heads = sizes_of_heads(e, s);
    int64_t of_image = s->tokens * e->projection.outputs, each = gradients_of_encoder(e);
    int64_t threads = least(omp_get_max_threads(), s->images * s->tokens / LEAST_TOKENS_OF_THREAD + 1);
    float *sums = (float *)new_workspace(each * threads);
#pragma omp parallel num_threads(threads)
    {
        char *workspace = start_thread(&of_heads);
        int64_t most = images_at_once(s), tokens_at_once = round_up(most * s->tokens, TOKENS_TOGETHER);
        backward_block block;
        char *room = new_backward_block(e, tokens_at_once, &block);
        char *between = new_block(
            tokens_at_once, e->projection.outputs, e->input_layer.outputs, &block.feed_forward);
        encoder_gradients to = encoder_gradients_at(e, sums + each * omp_get_thread_num());
        int is_added = 0;
        clear(e, &to);
        pack_backward(&e->query_key_value, p.query_key_value);
        pack_backward(&e->projection, p.projection);
        pack_backward(&e->input_layer, p.input_layer);
        pack_backward(&e->output_layer, p.output_layer);
#pragma omp for schedule(static) nowait
        for (int64_t image = 0; image < s->images; image += most) {
            int64_t images = least(most, s->images - image), here = image * of_image;
            kept of_these = kept_from(k, e, s, image);
            differentiate_feed_forward(
                e, &p, images * s->tokens, behind + here, of_these, &block, &to, is_added);
            differentiate_attention(
                e, &p, s, images, input + here, of_these, &block, &to, is_added, input_gradients + here, workspace);
            is_added = 1;
        }
        if (!is_added) clear_weights(e, &to);
#pragma omp barrier
        encoder_gradients first = encoder_gradients_at(e, sums);
        add_layer_of_threads(&found->query_key_value, first.query_key_value.weight, each);
        add_layer_of_threads(&found->projection, first.projection.weight, each);
        add_layer_of_threads(&found->input_layer, first.input_layer.weight, each);
        add_layer_of_threads(&found->output_layer, first.output_layer.weight, each);
#pragma omp single
        sum_of_threads(
            omp_get_num_threads(), first.attention_normalization, each, 4 * e->projection.outputs,
            found_of_normalizations);
        free(between);
        free(room);
        end_thread(workspace);
    }
    free(sums);
    free_packed_weights(p);
}
