/* A whole encoder forward and backward, of many sizes, each tensor in memory of just its size. Built with
 * sanitizers and -DSOURCE=<narrow_encoder_of_*.c in quotes>, it ends with an error where a byte beside them is
 * touched. */
#include SOURCE

#include "random_numbers.h"

static layer new_layer(int64_t outputs, int64_t inputs) {
    return (layer){random_numbers(outputs * inputs), random_numbers(outputs), outputs, inputs};
}

static encoder new_encoder(int64_t width, int64_t hidden) {
    float *floats[4];
    for (int i = 0; i < 4; i++) floats[i] = new_before_a_wall(width * sizeof(float));
    return (encoder){
        {floats[0], floats[1], 1e-6f},   {floats[2], floats[3], 1e-6f},   new_layer(3 * width, width),
        new_layer(width, width),         new_layer(hidden, width),        new_layer(width, hidden)};
}

static void *stream(int64_t count) { return new_before_a_wall(count * sizeof(stream_element)); }

static void run(int64_t images, int64_t tokens, int64_t heads, int64_t width, int64_t hidden) {
    encoder e = new_encoder(width, hidden), found = new_encoder(width, hidden);
    encoder_sizes s = {images, tokens, heads};
    int64_t all = images * tokens;
    kept nothing = {0}, k = {
        random_numbers(all * 3 * width), random_numbers(all * width), stream(all * width),
        random_numbers(all * hidden), new_before_a_wall(all * heads * sizeof(row_statistics))};
    stream_element *input = stream(all * width), *out = stream(all * width), *behind = stream(all * width);
    float *of_normalizations = new_before_a_wall(4 * width * sizeof(float));
    for (int64_t i = 0; i < all * width; i++) input[i] = behind[i] = k.attended[i];
    encode(&e, &s, input, &nothing, out);
    encode(&e, &s, input, &k, out);
    encode_backward(&e, &s, behind, input, &k, &found, of_normalizations, out);
}

int main(void) {
    ask_for_tiles();
    int64_t images[] = {0, 1, 3, 14}, tokens[] = {1, 2, 17, 33, 50, 200};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 6; j++) {
                run(images[i], tokens[j], 2, 32, 64);
                run(images[i], tokens[j], 3, 96, 32);
            }
    }
    return 0;
}
