/* The gradients of `narrow_encoder.h`: images go backward through all of it, a few at a time. Each thread adds up
 * gradients of the weights of its own, in float32. */
#pragma once
#include "narrow_encoder.h"

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
    differentiate_tokens(
        tokens, width, block->normalized_gradients, input, block->statistics, n->weight, past, found, sums,
        sums + width);
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
    normalize_tokens(
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
    normalize_tokens(
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
